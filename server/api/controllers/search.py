"""Search over mail, and the index behind it (api.md §4, filtering.md §10)."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from server.api.dependencies import Caller, CursorMaker, SearchIndex, Searching
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.common import time_text
from server.api.schemas.search import FoundOut, ReindexIn, ReindexOut, SearchOut, SearchStatusOut
from server.domain.errors import InvalidInput
from server.domain.paging import Page
from server.domain.search import SearchOrder
from server.services.mailstore.owners import Whose

Sort = Annotated[SearchOrder, QueryParameter(name="sort", description="-received_at = newest first, or relevance.")]


class SearchController(Controller):
    path = PREFIX + "/search"
    tags = ("mail",)

    @get(operation_id="search_messages", opt=needs("mail:read"))
    async def search_messages(
        self,
        caller: Caller,
        searching: Searching,
        cursors: CursorMaker,
        q: FromQuery[str],
        limit: FromQuery[int | None] = None,
        cursor: FromQuery[str | None] = None,
        sort: Sort = SearchOrder.NEWEST,
        account_id: FromQuery[str | None] = None,
        reason: FromQuery[str | None] = None,
    ) -> SearchOut:
        """Find messages: words, "phrases", pre*, from: to: subject: body: filename: in: tag: is: has: after: before:.

        Terms side by side must all match; OR, NOT, - and parentheses join them otherwise.
        """
        name = f"search {account_id} {sort} {q}"
        whose = Whose(account=account_id, reason=reason, goes_on=cursor is not None)
        request = cursors.request(caller, name, limit=limit, cursor=cursor)
        result = await searching.search(caller, whose, q, request, order=sort)
        page = cursors.listing(caller, name, Page(items=result.items, next_after=result.next_after), FoundOut.of)
        return SearchOut(
            items=page.items,
            next_cursor=page.next_cursor,
            took_ms=result.took_ms,
            indexed_through=time_text(result.indexed_through),
        )

    @get("/status", operation_id="get_search_status", opt=needs("mail:read"))
    async def get_search_status(
        self, caller: Caller, search_index: SearchIndex, account_id: FromQuery[str | None] = None
    ) -> SearchStatusOut:
        """How far the index is, of an account (id or address) or, for the system, of all."""
        return SearchStatusOut.of(await search_index.status(caller, account_id))

    @post("/reindex", operation_id="reindex", opt=needs("mail:write"), status_code=202)
    async def reindex(self, caller: Caller, search_index: SearchIndex, data: JSONBody[ReindexIn]) -> ReindexOut:
        """Make the index anew, or verify it; searches stay right meanwhile."""
        account = None if data.account_id is UNSET else data.account_id
        if data.verify:
            if account is not None:
                raise InvalidInput("the index is verified as a whole", pointer="/verify")
            return ReindexOut.of(await search_index.verify(caller))
        return ReindexOut.of(await search_index.reindex(caller, account))
