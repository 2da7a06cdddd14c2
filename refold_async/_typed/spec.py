"""A workflow with the types of what it takes and gives, as a value."""

from typing import TYPE_CHECKING, Any, Generic

import attrs

from refold_async._checks import check_header, check_id
from refold_async._models import ExecutionResult, Out_co, OutputError
from refold_async._typed.faults import MisfitError
from refold_async._typed.forms import check_type, from_json, name_of
from refold_async._typed.payloads import fitting, plain_payload
from refold_async._value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import TypeForm, TypeVar

    In = TypeVar("In", default=Mapping[str, Any])
    In_contra = TypeVar("In_contra", contravariant=True, default=Mapping[str, Any])
    Out = TypeVar("Out", default=Any)
else:
    from typing import TypeVar

    In = TypeVar("In")
    In_contra = TypeVar("In_contra", contravariant=True)
    Out = TypeVar("Out")


UNTYPED: Any = Any
"""In the place of a type: what comes is JSON, and so is what goes."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TypedWorkflow(Value, Generic[In_contra, Out_co]):
    """A workflow, and the types of its payload and of its output: a value that `workflow` makes.

    `RefoldClient.workflow` binds it to a client. Keep it beside the types: it needs no client, and
    can be pickled if they can.

    Attributes:
        workflow_id: id of a published workflow, or its alias.
        slug: the application it belongs to.
        input: the type of its payload.
        output: the type of its output.
    """

    workflow_id: str
    slug: str
    input: Any = attrs.field(default=UNTYPED, repr=False)
    output: Any = attrs.field(default=UNTYPED, repr=False)

    def payload(self, value: In_contra) -> Any:
        """Write the payload of a run as JSON values.

        Raises:
            PayloadError: it does not fit the type; says where.
        """
        kind: Any = self.input
        return plain_payload(value) if kind is UNTYPED else fitting(value, kind)

    def read(self, result: ExecutionResult[Any]) -> ExecutionResult[Out_co]:
        """Read the output of a run that went well, and leave any other result as it is.

        Raises:
            OutputError: it does not fit the type. The run happened all the same.
        """
        if self.output is UNTYPED or not result.ok or not result.output_is_read:
            return result
        received = result.json_output
        try:
            output = from_json(received, self.output)
        except MisfitError as misfit:
            error = OutputError(
                f"the output of execution {result.execution_id} does not fit"
                f" {name_of(self.output)}: {misfit.words} (at {misfit.path})",
                result=result,
                path=misfit.path,
            )
            raise error.about(workflow_id=self.workflow_id, slug=self.slug) from None
        return attrs.evolve(result, output=output, received=(received,))


def workflow(
    workflow_id: str,
    *,
    slug: str,
    input: "TypeForm[In]" = UNTYPED,  # noqa: A002 - the other word for it is longer
    output: "TypeForm[Out]" = UNTYPED,
) -> TypedWorkflow[In, Out]:
    """Say what a workflow takes and gives, once, where its types are.

    ::

        create_contact = workflow("6a106ba4...", slug="hubspot", input=NewContact, output=Contact)

        bound = refold.workflow(create_contact)
        contact = await bound(NewContact("jane@example.com"))

    Types are attrs classes, dataclasses, TypedDict, `msgspec.Struct`, plain types, and what can be
    made of them (`list[Contact]`, `Contact | None`), by msgspec (the extra `typed`); and pydantic
    models (v2), which need no extra. Makes no request.

    Args:
        workflow_id: id of a published workflow, or its alias.
        slug: the application it belongs to.
        input: the type of its payload, a JSON object; None for a workflow that takes none. Without
            it any mapping goes, unchecked.
        output: the type of its output; without it the output stays JSON.

    Raises:
        ConfigError: an argument is wrong, a type can't be told as JSON, or the extra is missing.

    See: "Execute Workflow".
    """
    for field, kind in (("input", input), ("output", output)):
        if kind is not UNTYPED:
            check_type(kind, field)
    return TypedWorkflow(
        workflow_id=check_id(workflow_id, "workflow_id"),
        slug=check_header(slug, "slug"),
        input=input,
        output=output,
    )
