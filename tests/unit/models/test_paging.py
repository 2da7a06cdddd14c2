"""Lists that come in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from refold_async import Page, Pages, UnexpectedReplyError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Shelf:
    """Serves the given pages by their number and remembers what was asked."""

    def __init__(self, *pages: Page[int]) -> None:
        self.pages = pages
        self.asked: list[Mapping[str, Any]] = []

    async def fetch(self, query: Mapping[str, Any]) -> Page[int]:
        """Give the page that is asked for."""
        self.asked.append(query)
        number: int = query["page"]
        return self.pages[number - 1]


def page(*items: int, more: bool = True) -> Page[int]:
    """Give a page of numbers."""
    return Page(items=items, has_next=more)


async def test_items_of_all_pages_come_in_order() -> None:
    """Iterating goes on from page to page until the service says that there are no more."""
    shelf = Shelf(page(1, 2), page(3, 4), page(5, more=False), page(6))
    assert [item async for item in Pages(shelf.fetch, {})] == [1, 2, 3, 4, 5]


async def test_query_is_kept_on_every_page() -> None:
    """Only the page's number changes between requests."""
    shelf = Shelf(page(1), page(2, more=False))
    assert [item async for item in Pages(shelf.fetch, {"limit": 1, "status": "RUNNING"})] == [1, 2]
    assert shelf.asked == [{"limit": 1, "status": "RUNNING", "page": n} for n in (1, 2)]


async def test_pages_can_be_iterated() -> None:
    """The pages themselves are there for those who want them."""
    shelf = Shelf(page(1, 2), page(3, more=False))
    assert [len(each) async for each in Pages(shelf.fetch, {}).pages()] == [2, 1]


async def test_empty_page_ends_the_list() -> None:
    """A page without items is the end, even where the service claims that more follow."""
    shelf = Shelf(page(1), page(), page(3))
    assert [len(each) async for each in Pages(shelf.fetch, {}).pages()] == [1]
    assert len(shelf.asked) == 2


async def test_empty_list_has_no_pages() -> None:
    """A list of nothing gives nothing."""
    assert [each async for each in Pages(Shelf(page(more=False)).fetch, {}).pages()] == []


async def test_repeated_page_is_an_error() -> None:
    """A service that ignores `page` would otherwise be asked without end."""
    pages = Pages(Shelf(page(1, 2), page(1, 2)).fetch, {}).pages()
    assert (await anext(pages)).items == (1, 2)
    with pytest.raises(UnexpectedReplyError, match="page 2 of the list repeats page 1"):
        await anext(pages)


@pytest.mark.parametrize("length", [2, 3, 7])
async def test_pages_that_go_round_in_circles_are_an_error(length: int) -> None:
    """A, B, A, B, ... would be read without end as well."""
    circle = [page(n) for n in range(length)] * 5
    shelf = Shelf(page(100), *circle)
    with pytest.raises(UnexpectedReplyError, match="does not advance"):
        async for _ in Pages(shelf.fetch, {}):
            pass
    assert len(shelf.asked) <= 4 * length


async def test_nothing_is_fetched_before_it_is_asked_for() -> None:
    """Pages are fetched lazily: stopping early costs no request."""
    shelf = Shelf(page(1, 2), page(3))
    pages = Pages(shelf.fetch, {})
    assert shelf.asked == []
    iterator = pages.pages()
    assert len(await anext(iterator)) == 2
    assert len(shelf.asked) == 1


async def test_each_iteration_starts_anew() -> None:
    """The same list can be gone over twice."""
    pages = Pages(Shelf(page(1), page(2, more=False)).fetch, {})
    assert [item async for item in pages] == [item async for item in pages] == [1, 2]
