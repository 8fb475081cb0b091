"""A program that sends tasks, and one that reads their results, for ``python -m tests.django.task_client``.

``send`` reads ``[[NAME, ARGUMENTS], ...]`` and prints the ids of the tasks of the shop; ``read`` reads ``[ID, ...]``
and prints their results. Each line of standard input is a list, in JSON, and each line of standard output an answer.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from django.tasks import TaskResult


def described(result: TaskResult) -> dict[str, Any]:
    return {
        "status": str(result.status),
        "value": result._return_value,
        "errors": [error.traceback for error in result.errors],
        "attempts": result.attempts,
        "workers": result.worker_ids,
    }


if __name__ == "__main__":
    django.setup()

    from django.tasks import default_task_backend

    from tests.django.shop import tasks

    for line in sys.stdin:
        given = json.loads(line)
        if sys.argv[1] == "send":
            answer = [getattr(tasks, name).enqueue(*arguments).id for name, arguments in given]
        else:
            answer = [described(default_task_backend.get_result(identity)) for identity in given]
        print(json.dumps(answer), flush=True)
