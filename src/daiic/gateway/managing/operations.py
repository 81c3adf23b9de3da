"""What can be managed, for the OpenAPI document."""

from daiic.gateway.managing.endpoint import PATH
from daiic.gateway.managing.schema import Managed, ManageRequest, Rights
from daiic.gateway.openapi.operation import Operation

OPERATIONS = (
    Operation("get", PATH, "Tell whether the client may manage models", answers=(Rights,)),
    Operation(
        "post", PATH, "Unload, pin, unpin or delete a model", ManageRequest, answers=(Managed,)
    ),
)
