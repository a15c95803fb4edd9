"""Sending, and what became of it (api.md §4)."""

from __future__ import annotations

from litestar import Controller, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from server.api.dependencies import Caller, CursorMaker, Sending, Submissions
from server.api.guards import needs
from server.api.pagination import Listing
from server.api.paths import PREFIX
from server.api.schemas.mail import SentOut, SubmissionOut
from server.services.submission.send import NewMessage


class SendController(Controller):
    path = PREFIX + "/send"
    tags = ("mail",)

    @post(operation_id="send_message", opt=needs("mail:send"), status_code=202)
    async def send_message(self, caller: Caller, sending: Sending, data: JSONBody[NewMessage]) -> Response[SentOut]:
        """Queue a message; after the answer it is safe."""
        sent = SentOut.of(await sending.send(caller, data))
        return Response(sent, status_code=202, headers={"Location": f"{PREFIX}/submissions/{sent.submission_id}"})

    @get("/{submission_id:str}/status", operation_id="get_send_status", opt=needs("mail:send"))
    async def get_send_status(
        self, caller: Caller, submissions: Submissions, submission_id: FromPath[str]
    ) -> SubmissionOut:
        """What became of a message, recipient by recipient."""
        return SubmissionOut.of(await submissions.get(caller, submission_id), whole=True)


class SubmissionController(Controller):
    path = PREFIX + "/submissions"
    tags = ("mail",)

    @get(operation_id="list_submissions", opt=needs("mail:send"))
    async def list_submissions(
        self,
        caller: Caller,
        submissions: Submissions,
        cursors: CursorMaker,
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
    ) -> Listing[SubmissionOut]:
        """List submissions, newest first."""
        page = await submissions.page(caller, cursors.request(caller, "submissions", limit=limit, cursor=cursor))
        return cursors.listing(caller, "submissions", page, SubmissionOut.of)

    @get("/{submission_id:str}", operation_id="get_submission", opt=needs("mail:send"))
    async def get_submission(
        self, caller: Caller, submissions: Submissions, submission_id: FromPath[str]
    ) -> SubmissionOut:
        """Show a submission with its deliveries."""
        return SubmissionOut.of(await submissions.get(caller, submission_id), whole=True)
