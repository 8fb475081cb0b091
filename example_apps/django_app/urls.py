from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("orders", views.place, name="place"),
    path("orders/<int:order_id>/announce", views.retry, name="retry"),
    path("style.css", views.style, name="style"),
    path("live.js", views.script, name="script"),
    path("favicon.ico", views.icon, name="icon"),
]
