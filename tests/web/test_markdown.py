"""The component that shows answers in Markdown, alone on a page under the service's policy."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Locator, expect

from tests.web.conftest import PACKAGES, WEB, Open
from tests.web.markdown.hostile import hostile
from tests.web.support import Visit

HERE = Path(__file__).parent / "markdown"
SAMPLES = (HERE / "samples.md").read_text()
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
    "frame-ancestors 'none'"
)
HTML = (
    '<!doctype html><html lang="en"><meta name="viewport" content="width=device-width">'
    '<title>Answer</title><link rel="icon" href="data:,">'
    '<link rel="stylesheet" href="page.css"><main></main><script type="module" src="page.js"></script>'
)
SIZE = 60_000
# How many times as long as ordinary Markdown of the same size something may take. What grows with the square
# of the size takes hundreds of times as long.
MOST_TIMES = 12
# What may stand on a line, to be put together by chance.
LINES = (HERE / "lines.txt").read_text().split("\n")


@pytest.fixture(scope="session")
def built(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("markdown")
    shutil.copy(HERE / "page.css", folder)
    shutil.copy(PACKAGES / "node_modules/axe-core/axe.min.js", folder)
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(built: Path) -> AsyncIterator[str]:
    """Serve the page; returns its address."""
    command = ("node", HERE / "build.mjs", WEB, HERE / "page.tsx", built)
    build = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await build.communicate()
    assert build.returncode == 0, errors.decode()[-2000:]

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=HTML, content_type="text/html", headers={"content-security-policy": POLICY})

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_static("/", built)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        listener = web.TCPSite(runner, "127.0.0.1", 0)
        await listener.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


class Paper:
    """The page with one answer on it."""

    def __init__(self, visit: Visit) -> None:
        self.page = visit.page
        self.visit = visit
        self.answer = visit.page.locator(".md-answer")

    async def show(self, text: str, *, anew: bool = True, **props: Any) -> Locator:
        await self.page.evaluate("([props, anew]) => show(props, anew)", [{"text": text} | props, anew])
        return self.answer

    async def duration(self, text: str) -> float:
        """Show a text; returns the milliseconds that it took."""
        script = (
            "text => { const start = performance.now(); show({ text }); return performance.now() - start; }"
        )
        return float(await self.page.evaluate(script, text))

    def asked(self, name: str) -> list[str]:
        """Return the addresses of a file that the page asked for."""
        return [request.url for request in self.visit.requests if f"/{name}-" in request.url]

    async def drawn(self) -> None:
        """Wait until everything that is loaded later is shown."""
        await expect(self.answer.locator(".katex").first).to_be_attached()
        await expect(self.answer.locator("[class^=hljs-]").first).to_be_attached()


@pytest_asyncio.fixture(loop_scope="session")
async def paper(site: str, visit: Open) -> Paper:
    opened = await visit(site)
    await expect(opened.page.locator("html[data-ready]")).to_be_attached()
    return Paper(opened)


async def test_gfm_is_shown(paper: Paper):
    answer = await paper.show(SAMPLES)
    await expect(answer.locator("h1, h2")).to_have_count(0)
    await expect(answer.locator("h3")).to_have_text("Title")
    await expect(answer.locator("h4")).to_have_text("A list")
    first = answer.locator("p").first
    await expect(first.locator("strong, em, del")).to_have_text(["bold", "slanted", "gone"])
    await expect(first.locator("br")).to_have_count(2)
    await expect(first).to_contain_text('costs $5 or $6, ~3 to ~4 of them. <b>raw</b> & "quotes"')
    boxes = answer.get_by_role("checkbox")
    assert await boxes.evaluate_all("all => all.map(box => [box.disabled, box.checked, box.ariaLabel])") == [
        [True, False, "to do"],
        [True, True, "done"],
        [True, False, "مهمة"],
    ]
    await expect(answer.locator("[id]")).to_have_count(0)


async def test_footnotes_are_marks_and_words(paper: Paper):
    answer = await paper.show("Said[^a] twice[^a].\n\n[^a]: Who **said** it.")
    await expect(answer.locator("p sup")).to_have_text(["[a]", "[a]"])
    await expect(answer.locator(".md-footnote")).to_have_text("[a] Who said it.")
    await expect(answer.locator("[id], a")).to_have_count(0)


async def test_wide_tables_scroll_and_keep_their_words(paper: Paper):
    await paper.page.set_viewport_size({"width": 320, "height": 640})
    words = ["Donaudampfschifffahrtsgesellschaft", "여러단어로된아주긴한국어낱말입니다"]
    row = "|".join(words * 3)
    await paper.show(f"|{row}|\n{'|-' * 6}|\n|{row}|")
    table = paper.answer.get_by_role("group", name="Table")
    await paper.page.keyboard.press("Tab")
    await expect(table).to_be_focused()
    assert await table.evaluate("it => it.scrollWidth > it.clientWidth")
    assert await paper.page.evaluate("document.documentElement.scrollWidth") == 320
    heights = await table.locator("td").evaluate_all("all => all.map(cell => cell.clientHeight)")
    await paper.show("|a|\n|-|\n|b|")
    assert set(heights) == {await table.locator("td").evaluate("cell => cell.clientHeight")}
    await paper.show("|a|b|\n|:-|-:|\n|one<br>two|x|too many|")
    await expect(table.locator("td")).to_have_count(2)
    await expect(table.locator("td br")).to_have_count(1)
    await expect(table.locator("td").last).to_have_css("text-align", "right")


async def test_code_is_coloured_once_it_is_closed(paper: Paper):
    code = "```python\ndef f(): return 1"
    await paper.show(code, isStreaming=True)
    block = paper.answer.get_by_role("group", name="Code: python")
    await expect(block).to_have_text("def f(): return 1")
    assert not paper.asked("highlighter")
    await paper.show(f"{code}\n```\nText", isStreaming=True)
    await expect(block.locator(".hljs-keyword").first).to_have_text("def")
    assert len(paper.asked("highlighter")) == 1
    await expect(block).to_have_attribute("tabindex", "0")
    await expect(paper.answer.locator(".md-code")).to_have_css("direction", "ltr")
    await paper.show("```klingon\n<b>&amp;\n```")
    await expect(paper.answer.locator("pre")).to_have_text("<b>&amp;")


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_code_is_copied(is_allowed: bool, paper: Paper):
    if not is_allowed:
        await paper.page.evaluate(
            "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }"
        )
    await paper.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await paper.show("```py\na < b\n\n  c\n```")
    await paper.answer.get_by_role("button", name="Copy code").click()
    await expect(paper.answer.get_by_role("status")).to_have_text("Copied")
    await expect(paper.answer.get_by_role("button", name="Copied")).to_be_focused()
    assert await paper.page.evaluate("navigator.clipboard.readText()") == "a < b\n\n  c"


async def test_formulas_are_drawn_by_what_is_loaded_then(paper: Paper):
    await paper.show(r"It costs $5, or $6, or `\(x\)`." + "\n\n```\n$$ x $$\n```")
    assert not paper.asked("katex")
    await paper.show(
        r"Inline \(a_1\)" + "\n\n- item\n  \\[\n  b\n  + \\boxed{c}\n  \\]\n\n$$\nd\n\ne\n$$\nand $$f$$"
    )
    await expect(paper.answer.locator(".katex")).to_have_count(4)
    sources = await paper.answer.locator("annotation").all_text_contents()
    assert [source.split() for source in sources] == [["a_1"], ["b", "+", r"\boxed{c}"], ["d", "e"], ["f"]]
    await expect(paper.answer.get_by_role("group", name="Formula")).to_have_count(3)
    await expect(paper.answer.locator("li > p, li > ul")).to_have_count(0)
    await paper.page.evaluate("document.fonts.ready")
    fonts = [request.url for request in paper.visit.requests if "KaTeX" in request.url]
    assert fonts
    assert all(url.endswith(".woff2") for url in fonts)
    assert await paper.page.evaluate("document.fonts.check('12px KaTeX_Math')")
    assert len(paper.asked("katex")) == 2


@pytest.mark.parametrize(
    "source",
    [
        r"\(\notacommand\)",
        r"\[\frac{\]",
        r"\[\def\a{xxx}\a\]",
        "$$" + "{" * 2_400 + "$$",
    ],
)
async def test_formulas_that_cannot_be_drawn_are_their_source(source: str, paper: Paper):
    await paper.show(rf"{source} and \(x\)")
    await expect(paper.answer.locator(".katex")).to_have_count(1)
    await expect(paper.answer.locator(".md-tex")).to_have_text(source)


@pytest.mark.parametrize(
    "formula",
    [
        r"\fcolorbox{red}{blue}{x}",
        r"\pmb{x}",
        r"\href{javascript:alert(1)}{x}",
        r"\htmlStyle{color:red}{x}",
        r"\includegraphics{https://x.test/a.png}",
        r"\rule{9999em}{9999em}",
        r"\cancel{x}\color{red}\sqrt{x}",
    ],
)
async def test_formulas_keep_to_the_policy(formula: str, paper: Paper):
    await paper.show(f"$$ {formula} $$")
    await expect(paper.answer.locator(".katex")).to_have_count(1)
    await expect(paper.answer.locator("a, img")).to_have_count(0)
    assert await paper.answer.evaluate("it => it.clientHeight") < 1_000


async def test_unfinished_formulas_are_text(paper: Paper):
    for text in (r"so \(x +", "so $$x +", "\\[\nx\n\n", "$$\nx", r"\(\)", "$$$ a $$$"):
        await paper.show(text, isStreaming=True)
        await expect(paper.answer).to_contain_text("x" if "x" in text else ")" if ")" in text else "a")
        await expect(paper.answer.locator(".md-tex, .katex")).to_have_count(0)


async def test_links_lead_to_the_web_and_mail_alone(paper: Paper):
    await paper.show(
        "[a](javascript:alert(1)) [b](data:text/html,x) [c](/docs) [d](#top) [e](//x.test) [f](file:///x) "
        "[g](JaVaScRiPt:x) [h](blob:https://x.test/1) [i] <javascript:x>\n\n[i]: vbscript:x"
    )
    await expect(paper.answer.locator("a")).to_have_count(0)
    await expect(paper.answer).to_contain_text("a b c d e f g h i")
    await paper.show("[a](https://x.test/y) <https://x.test> https://x.test/a_b_(c)! (www.x.test) me@x.test")
    links = paper.answer.locator("a")
    assert await links.evaluate_all("all => all.map(link => link.href)") == [
        "https://x.test/y",
        "https://x.test/",
        "https://x.test/a_b_(c)",
        "https://www.x.test/",
        "mailto:me@x.test",
    ]
    outside = paper.answer.locator("a[target=_blank][rel='noopener noreferrer']")
    await expect(outside).to_have_count(4)
    await paper.show("https://x.test를 보세요. **https://y.test** [https://z.test](https://z.test)")
    assert await links.all_text_contents() == ["https://x.test", "https://y.test", "https://z.test"]


@pytest.mark.parametrize(
    ("link", "host"),
    [
        ("[bank.com](https://evil.test/x)", "evil.test"),
        ("[https://bank.com/login](https://evil.test)", "evil.test"),
        ("[go to https://bank.com](https://evil.test)", "evil.test"),
        ("[ba\u200bnk.com](https://evil.test)", "evil.test"),
        ("<https://bank.com@evil.test/>", "evil.test"),
        ("[пример](https://xn--e1afmkfd.test)", "xn--e1afmkfd.test"),
        ("[me@bank.com](mailto:you@evil.test)", "you@evil.test"),
        ("[bank.com](https://www.bank.com/login)", None),
        ("[the bank](https://bank.com)", None),
        ("https://bank.com/a", None),
    ],
)
async def test_misleading_links_show_where_they_lead(link: str, host: str | None, paper: Paper):
    await paper.show(link)
    shown = paper.answer.locator(".md-host")
    await expect(shown).to_have_text([] if host is None else [f"({host})"])


async def test_pictures_are_not_loaded(paper: Paper):
    await paper.show(
        "![chart](https://x.test/c.png) ![a](data:image/png;base64,x) ![b](c.png) ![c](blob:x) "
        "[![d](https://x.test/d.png)](https://y.test) ![e][f]\n\n[f]: https://x.test/f.png"
    )
    await expect(paper.answer.locator("img")).to_have_count(0)
    pictures = paper.answer.locator(".md-picture")
    await expect(pictures).to_have_text(["Picture: chart (x.test)", "Picture: e (x.test)"])
    await expect(pictures.first).to_have_attribute("href", "https://x.test/c.png")
    await expect(paper.answer).to_have_text("Picture: chart (x.test) a b c d Picture: e (x.test)")


async def test_numbers_of_sources_lead_to_them(paper: Paper):
    await paper.show(
        "One[1], two[2][3], [[1]](https://x.test), `[1]`",
        sources=[
            {"number": 1, "title": "notes.txt"},
            {"number": 3, "url": "https://x.test"},
        ],
    )
    await expect(paper.answer).to_contain_text("two[2]")
    buttons = paper.answer.get_by_role("button")
    await expect(buttons).to_have_text(["1", "3"])
    await paper.answer.get_by_role("button", name="Source 1: notes.txt").click()
    await paper.answer.get_by_role("button", name="Source 3: https://x.test").press("Enter")
    assert await paper.page.evaluate("lab.chosen") == [1, 3]


async def test_each_block_reads_in_its_own_direction(paper: Paper):
    await paper.show(
        "שלום `a`\n\nHello\n\n- مرحبا\n\n> שלום\n\n|שלום|b|\n|-|-|\n\n- 1\n\n  אבג\n\n```\nאבג\n```"
    )
    directions = await paper.answer.locator("p, ul, table, th, pre, code, blockquote").evaluate_all(
        "all => all.map(one => [one.localName, getComputedStyle(one).direction])"
    )
    assert directions == [
        ["p", "rtl"],
        ["code", "ltr"],
        ["p", "ltr"],
        ["ul", "rtl"],
        ["blockquote", "rtl"],
        ["p", "rtl"],
        ["table", "rtl"],
        ["th", "rtl"],
        ["th", "ltr"],
        ["ul", "rtl"],
        ["p", "ltr"],
        ["p", "rtl"],
        ["pre", "ltr"],
        ["code", "ltr"],
    ]


async def test_hostile_texts_take_no_longer_than_ordinary_ones(paper: Paper):
    ordinary = (SAMPLES * 99)[:SIZE]
    usual = min([await paper.duration(ordinary) for _ in range(3)])
    slow = {}
    for name, text in hostile(SIZE).items():
        allowed = MOST_TIMES * usual * max(1, len(text) / SIZE)
        # Once more where the machine may have been busy.
        if await paper.duration(text) > allowed and (again := await paper.duration(text)) > allowed:
            slow[name] = again / usual
    assert not slow


async def test_pieces_are_shown_as_the_whole_is(paper: Paper):
    chance = random.Random(1)
    made = ["\n".join(chance.choices(LINES, k=chance.randint(2, 12))) for _ in range(3_000)]
    beginnings = [SAMPLES[:end] for end in range(0, len(SAMPLES), 3)]
    assert await paper.page.evaluate("texts => lab.differing(texts)", made + beginnings) == []


async def test_what_is_closed_is_left_alone_while_an_answer_grows(paper: Paper):
    text = (SAMPLES * 20)[:20_000]
    assert await paper.page.evaluate("text => lab.grown(text, 2000)", text) < 15 * len(text)
    await paper.show("First **block**.\n\n```js\nlet a;\n```\nLast", isStreaming=True)
    await expect(paper.answer.locator(".hljs-keyword")).to_have_count(1)
    await paper.page.evaluate(
        """() => {
          lab.changed = 0;
          const last = () => lab.place.querySelector('.md-answer').lastElementChild;
          new MutationObserver((records) => {
            lab.changed += records.filter(({ target }) => !last().contains(target)).length;
          }).observe(lab.place, { subtree: true, childList: true, characterData: true });
        }"""
    )
    for end in (" bl", " block", " block [with a lin", " block [with a link](https://x.t"):
        await paper.show(f"First **block**.\n\n```js\nlet a;\n```\nLast{end}", isStreaming=True, anew=False)
    await expect(paper.answer.locator("p").last).to_have_text("Last block with a link")
    assert await paper.page.evaluate("lab.changed") == 0


async def test_a_long_last_block_is_shown_to_its_end(paper: Paper):
    items = [f"- item {number}" for number in range(400)]
    for count in range(380, 400):
        await paper.show("\n".join(items[:count]), isStreaming=True, anew=count == 380)
    await expect(paper.answer.locator("li").last).to_have_text("item 398")
    await paper.show("\n".join(items), anew=False)
    assert await paper.answer.locator("li").count() == 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_answers_are_accessible(scheme: str, paper: Paper):
    await paper.page.evaluate("scheme => document.documentElement.dataset.scheme = scheme", scheme)
    code = "```diff\n- a\n+ b\n```\n\n```html\n<a href='x'>1</a> <!-- c -->\n```\n\n```yaml\na: [1]\n```\n\n"
    await paper.show(f"{SAMPLES}\n\n{code}[bank.com](https://x.test)", sources=[{"number": 1, "title": "a"}])
    await paper.drawn()
    await paper.page.add_script_tag(url="axe.min.js")
    found = await paper.page.evaluate("axe.run(lab.place)")
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []
    assert await paper.answer.locator("[class^=hljs-]").count() > 20
