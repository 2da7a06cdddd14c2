"""Lists that come in pages: iterate over the items, or over the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from refold_async._errors import UnexpectedReplyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from refold_async._models.documents import Page

T = TypeVar("T")


class Pages(Generic[T]):
    """All items of a list, fetched page by page as they are asked for.

    `async for item in pages` goes over the items, `async for page in pages.pages()` over the pages.
    Each iteration starts anew at the first page; nothing is fetched before.
    """

    def __init__(
        self,
        fetch: Callable[[Mapping[str, Any]], Awaitable[Page[T]]],
        query: Mapping[str, Any],
        **about: str | None,
    ) -> None:
        self._fetch = fetch
        self._query = query
        self._about = about  # what and whose the list is, in the words of errors

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over the pages, each a `Page` with at least one item.

        Raises:
            UnexpectedReplyError: the service repeats pages instead of going on.
        """
        number, marked = 1, 0
        before: tuple[T, ...] | None = None
        while True:
            page = await self._fetch({**self._query, "page": number})
            if not page.items:
                return
            if page.items == before:
                raise UnexpectedReplyError(
                    f"page {number} of the list repeats page {marked}; the service's paging"
                    " does not advance"
                ).about(**self._about)
            # Brent's way to find a cycle of any length without keeping every page.
            if number.bit_count() == 1:
                marked, before = number, page.items
            yield page
            if not page.has_next:
                return
            number += 1
