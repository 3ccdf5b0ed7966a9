"""Django's own tasks: manage.py db_worker"""

try:
    from django.tasks import task
except ImportError:  # in Django 5.2, from the package django-tasks
    from django_tasks import task


@task()
def count_orders() -> None:
    from orders.tasks import count_orders

    count_orders()
