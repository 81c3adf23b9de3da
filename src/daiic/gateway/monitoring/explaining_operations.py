"""What can be asked of the head's decisions, for the OpenAPI document."""

from daiic.gateway.monitoring.explaining import (
    POLICY,
    TASK,
    TASKS,
    PolicyInForce,
    RunningTasks,
    TaskExplanation,
)
from daiic.gateway.openapi.operation import Operation, path_parameter

OPERATIONS = (
    Operation("get", TASKS, "List the tasks that are not over", answers=(RunningTasks,)),
    Operation(
        "get",
        TASK,
        "Explain why a task is where it is",
        answers=(TaskExplanation,),
        parameters=(path_parameter("number"),),
    ),
    Operation("get", POLICY, "Show the policy in force", answers=(PolicyInForce,)),
)
