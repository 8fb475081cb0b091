from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "example_apps.django_app"
    label = "orders"
    default_auto_field = "django.db.models.BigAutoField"
