from __future__ import annotations

from django.urls import path

from tests.django.shop import views

urlpatterns = [path("orders", views.order), path("publish", views.publish)]
