"""Definitions of tags and categories, which a tenant's accounts share (api.md §4)."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from server.api.controllers.tenants import IfMatch
from server.api.dependencies import Caller, TagDefinitions
from server.api.guards import needs
from server.api.paths import PREFIX
from server.api.schemas.common import revision_of, tagged
from server.api.schemas.messages import CategoriesOut, CategoryOut, TagOut, TagsOut
from server.services.mailstore.tags import CategoryChange, NewCategory, NewTag, TagChange


class TagController(Controller):
    path = PREFIX + "/tags"
    tags = ("mail",)

    @get(operation_id="list_tags", opt=needs("filtering:read"))
    async def list_tags(self, caller: Caller, tag_definitions: TagDefinitions) -> TagsOut:
        """All tags by name; a keyword that a client sets becomes one."""
        return TagsOut(items=[TagOut.of(tag) for tag in await tag_definitions.tags(caller)])

    @post(operation_id="create_tag", opt=needs("filtering:write"))
    async def create_tag(
        self, caller: Caller, tag_definitions: TagDefinitions, data: JSONBody[NewTag]
    ) -> Response[TagOut]:
        """Define a tag."""
        tag = await tag_definitions.create_tag(caller, data)
        return tagged(TagOut.of(tag), tag.revision, status=201, headers={"Location": f"{PREFIX}/tags/{tag.id}"})

    @patch("/{tag_id:str}", operation_id="change_tag", opt=needs("filtering:write"))
    async def change_tag(
        self,
        caller: Caller,
        tag_definitions: TagDefinitions,
        tag_id: FromPath[str],
        data: JSONBody[TagChange],
        if_match: IfMatch = None,
    ) -> Response[TagOut]:
        """Change what a tag is called and how it looks."""
        tag = await tag_definitions.change_tag(caller, tag_id, data, revision=revision_of(if_match))
        return tagged(TagOut.of(tag), tag.revision)

    @delete("/{tag_id:str}", operation_id="delete_tag", opt=needs("filtering:write"))
    async def delete_tag(
        self, caller: Caller, tag_definitions: TagDefinitions, tag_id: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """Delete a definition; messages keep the keyword."""
        await tag_definitions.delete_tag(caller, tag_id, revision=revision_of(if_match))


class CategoryController(Controller):
    path = PREFIX + "/categories"
    tags = ("mail",)

    @get(operation_id="list_categories", opt=needs("filtering:read"))
    async def list_categories(self, caller: Caller, tag_definitions: TagDefinitions) -> CategoriesOut:
        """All categories, the most important first."""
        return CategoriesOut(items=[CategoryOut.of(one) for one in await tag_definitions.categories(caller)])

    @post(operation_id="create_category", opt=needs("filtering:write"))
    async def create_category(
        self, caller: Caller, tag_definitions: TagDefinitions, data: JSONBody[NewCategory]
    ) -> Response[CategoryOut]:
        """Define a category."""
        made = await tag_definitions.create_category(caller, data)
        location = {"Location": f"{PREFIX}/categories/{made.id}"}
        return tagged(CategoryOut.of(made), made.revision, status=201, headers=location)

    @patch("/{category_id:str}", operation_id="change_category", opt=needs("filtering:write"))
    async def change_category(
        self,
        caller: Caller,
        tag_definitions: TagDefinitions,
        category_id: FromPath[str],
        data: JSONBody[CategoryChange],
        if_match: IfMatch = None,
    ) -> Response[CategoryOut]:
        """Change a category."""
        changed = await tag_definitions.change_category(caller, category_id, data, revision=revision_of(if_match))
        return tagged(CategoryOut.of(changed), changed.revision)

    @delete("/{category_id:str}", operation_id="delete_category", opt=needs("filtering:write"))
    async def delete_category(
        self, caller: Caller, tag_definitions: TagDefinitions, category_id: FromPath[str], if_match: IfMatch = None
    ) -> None:
        """Delete a category; messages in it are in none afterwards."""
        await tag_definitions.delete_category(caller, category_id, revision=revision_of(if_match))
