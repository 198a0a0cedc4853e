"""The models that resources share: strict input, public ids, pages, problems.

Input is strict: unknown members are refused, nothing is converted, numbers are finite. Ids are text outside and numbers
inside; times are integers, milliseconds since 1970 UTC, in members named `…_at`.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from domain import ids
from domain.errors import RejectedInput

D = TypeVar("D")

PAGE, MAX_PAGE = 50, 200


class PublicId:
    """A 63-bit number inside, `con_…` outside."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda number: ids.to_text(self.kind, number), return_schema=core_schema.str_schema()
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": id_pattern(self.kind)}

    def _read(self, value: Any, info: ValidationInfo) -> int:
        if isinstance(value, int) and info.mode == "python":  # from our own rows, never from outside
            return value
        try:
            return ids.from_text(self.kind, value if isinstance(value, str) else "")
        except RejectedInput as error:
            raise PydanticCustomError("id", "{what}", {"what": error.what}) from None


def id_pattern(kind: str) -> str:
    """What a public id of this kind looks like, as a regular expression."""
    return f"^{ids.PREFIXES[kind]}_[0-9a-hjkmnp-tv-z]{{{ids.TEXT_LENGTH}}}$"


ChannelId = Annotated[int, PublicId("channel")]
OutletId = Annotated[int, PublicId("outlet")]
ContactId = Annotated[int, PublicId("contact")]
IdentityId = Annotated[int, PublicId("identity")]
ConversationId = Annotated[int, PublicId("conversation")]
MessageId = Annotated[int, PublicId("message")]
EventId = Annotated[int, PublicId("event")]
FlowId = Annotated[int, PublicId("flow")]
VersionId = Annotated[int, PublicId("flow_version")]
CampaignId = Annotated[int, PublicId("campaign")]
RunId = Annotated[int, PublicId("run")]
PostId = Annotated[int, PublicId("post")]
SegmentId = Annotated[int, PublicId("segment")]
ConsentId = Annotated[int, PublicId("consent")]
JobId = Annotated[int, PublicId("job")]
MediaId = Annotated[int, PublicId("media")]
SessionId = Annotated[int, PublicId("session")]
ConversionId = Annotated[int, PublicId("conversion")]
FeedbackId = Annotated[int, PublicId("feedback")]
ReferralId = Annotated[int, PublicId("referral")]
NotificationId = Annotated[int, PublicId("notification")]

Time = Annotated[int, Field(ge=0, lt=1 << 53, description="ms since 1970 UTC")]


class Input(BaseModel):
    """What a request's body says."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Query(BaseModel):
    """What a request's query says; its values come as text and are converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    """Which page. `after`: the `next` of the page before."""

    after: str | None = Field(None, max_length=100, description="`next` of the page before")
    limit: int = Field(PAGE, ge=1, le=MAX_PAGE, description="at most this many")


class Output(BaseModel):
    """What an answer says."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(Output, Generic[D]):
    """A page of things; `next` null: it was the last."""

    data: list[D]
    next: str | None = None


class Fault(Output):
    """One thing that does not fit. `where`: a path into the body, or the parameter."""

    where: str
    what: str


class Problem(Output):
    """An error (RFC 9457). `type` names the sort, `detail` says what and where for people."""

    type: str
    title: str
    status: int
    detail: str
    where: str | None = None
    errors: list[Fault] | None = None


def numeric_cursor(after: str | None) -> int:
    """A cursor that is a number; 0 for none. Raises RejectedInput."""
    if after is None:
        return 0
    if not after.isascii() or not after.isdigit() or len(after) > 19 or int(after) >= 1 << 63:
        raise RejectedInput("is not the `next` of a page", where="after")
    return int(after)


def page_of(items: list[D], limit: int, cursor_of: Any) -> Page[D]:
    """A page of at most `limit`; one more was asked for, to know whether it goes on."""
    more = len(items) > limit
    shown = items[:limit]
    return Page[D](data=shown, next=str(cursor_of(shown[-1])) if more else None)
