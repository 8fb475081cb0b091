from __future__ import annotations

from tests.wsgi.helpers import run_python


def test_the_shops_own_tests_pass_under_djangos_runner():
    result = run_python(
        *["-W", "error", "-m", "django", "test", "tests.django.shop.runner_tests"],
        DJANGO_SETTINGS_MODULE="tests.django.settings",
    )

    assert result.returncode == 0, result.stdout
    assert "Ran 7 tests" in result.stdout
