"""The page of a leaderboard, in a browser; the order of its rows is Python's, its markup is read by Python's own parser."""

import csv
import html
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Opened, chromium
from robustvideo.leaderboard.board import build, by_track
from robustvideo.leaderboard.page import explained, page
from robustvideo.leaderboard.results import Results
from robustvideo.leaderboard.rows import Board, Column, Picture, Row, Section, Value
from robustvideo.leaderboard.tracks import Track
from stores import made_cell

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    'a," onmouseover="alert(3)',
    "{{ 7 * 7 }} | {% raw %}",
    "two\nlines",
    "long " * 40,
    "\u202eright to left \u0645\u0631\u062d\u0628\u0627",
    "=1+1",
    "100 % & a_b \\ `c` &amp; &#60;",
)
FULL, BLIND = "pgd:eps=8/255,steps=50 (full knowledge)", "pgd:eps=8/255,steps=50 (oblivious)"
COLUMNS = (
    Column("clean", "clean", "clean", "Without an attack."),
    Column(FULL, "pgd (full knowledge)", "attack", "Under an attack that knows the defence."),
    Column(BLIND, "pgd (oblivious)", "attack", "Under an attack that does not."),
    Column("worst", "worst", "worst", "Under every attack at once."),
    Column("mPC", "mPC", "corruption", "Over corruptions."),
    Column("time", "time", "cost", "What it took.", "s/clip"),
)
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><style>rect { fill: rgb(0, 128, 0); }</style>'
    '<rect width="40" height="20"/><script>alert(4)</script></svg>'
)


def row(number: int, name: str = "", **other) -> Row:
    """Numbers with ties, gaps, and a failure in every seventh row."""
    model, defense = name or f"model-{number * 7 % 10}", name or ("none", "at", "shuffle+smoothing:sigma=0.1")[number % 3]
    values = {
        "clean": Value(0.9 - number % 4 / 10, 0.5, 0.95),
        "worst": Value(max(0.6 - number / 400, 0.0), 0.1, 0.7, "", ("c1", "c2")),
    }
    values |= {FULL: Value((number * 37 % 100) / 100, 0.1, 0.9)} if number % 5 else {}
    values |= (
        {BLIND: Value((number * 53 % 100) / 100, 0.1, 0.9)}
        if number % 7
        else {BLIND: Value(failed=other.pop("why", "no memory"))}
    )
    values |= {"mPC": Value(0.3 + number % 3 / 10), "time": Value((number * 29 % 17) * 1.5)} if number % 4 else {}
    place = {"dataset": "shapes", "limit": None, "weights_sha256": "ab" * 32}
    flags = other.pop("flags", ("few-clips", "missing:square") if number % 2 else ())
    rank = None if number % 11 == 10 else (number + 1, number + 3)
    titles = (f"{model}:size=64", f"{defense}:full=yes") if not name else (name, name)
    date = f"2026-11-{1 + number * 5 % 28:02d}T12:00:00"
    tie = "ab"[number % 2] if rank else ""
    return Row(*titles, model, defense, 400 - number % 2, values, rank, tie, flags, f"{number * 7919 % 4096:024x}", place, date)


def board(count: int = 23) -> Board:
    first = Section("shapes, all clips", COLUMNS, tuple(row(number) for number in range(count)), {})
    few = Section("shapes, first 8 clips", COLUMNS[:4], tuple(row(number) for number in range(1, 4)), {})
    return Board("A board", "What it shows.", (first, few), ("cat is not listed; run <this>",), "standard")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a board; whatever it does, nothing may go wrong in the console, and nothing be fetched."""
    tabs = []

    def start(shown: Board | None = None, pictures=(), tracks=(), **options) -> Opened:
        file = tmp_path / "index.html"
        file.write_text(page(shown or board(), pictures, tracks), encoding="utf-8")
        tabs.append(Opened(browser, file, **options))
        return tabs[-1]

    yield start
    for tab in tabs:
        tab.close()
        assert (tab.wrong, tab.asked) == ([], [])


def expected(rows: list[Row], key, down: bool) -> list[str]:
    """Stable, missing last in either direction."""
    there = [one for one in rows if key(one) is not None]
    return [
        one.hash[:8] + one.hash for one in [*sorted(there, key=key, reverse=down), *(one for one in rows if key(one) is None)]
    ]


def number_of(name: str):
    def key(one: Row):
        value = one.values.get(name)
        return None if value is None or value.failed else value.mean

    return key


KEYS = {
    "Rank": (lambda one: one.rank, False),
    "Tie": (lambda one: one.tie or None, False),
    "Model": (lambda one: one.model_title, False),
    "Defence": (lambda one: one.defense_title, False),
    "Clips": (lambda one: one.clips, False),
    "clean": (number_of("clean"), True),
    "worst": (number_of("worst"), True),
    "pgd": (number_of(FULL), True),
    "mPC": (number_of("mPC"), True),
    "time": (number_of("time"), False),
    "Flags": (lambda one: " ".join(one.flags) or None, False),
    "Hash": (lambda one: one.hash, False),
    "Date": (lambda one: one.date, False),
}
ORDER = "rows => rows.map(r => r.querySelector('.hash').textContent + r.querySelector('.hash').title)"


@pytest.mark.parametrize(("count", "names"), [(23, tuple(KEYS)), (200, ("pgd", "Model"))])
def test_every_column_sorts_as_python_does_and_a_second_press_reverses(opened, count, names):
    shown = board(count)
    tab = opened(shown).tab
    rows = list(shown.sections[0].rows)
    for name in names:
        key, down = KEYS[name]
        head = tab.locator("#s1 .heads th").filter(has=tab.get_by_role("button", name=name)).first
        for way in (down, not down):
            head.get_by_role("button").evaluate("one => one.click()")
            wanted = expected(rows, key, way)
            assert tab.eval_on_selector_all("#s1 tbody tr", ORDER) == wanted, (name, way)
            assert head.get_attribute("aria-sort") == ("descending" if way else "ascending")
            assert tab.locator("#s1 .heads [aria-sort]:not([aria-sort=none])").count() == 1
            rows.sort(key=lambda one, wanted=wanted: wanted.index(one.hash[:8] + one.hash))


def test_the_keyboard_alone_sorts_and_opens_a_row(opened):
    tab = opened().tab
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.textContent.trim()") == "clean":
            break
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert tab.locator("#s1 .heads th[data-kind=worst]").get_attribute("aria-sort") == "descending"
    head = tab.locator("#s1 .heads th[data-kind=clean]")
    tab.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    tab.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    model = tab.locator("#s1 tbody tr").first.locator("summary")
    model.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#s1 tbody tr").first.locator("dl").is_visible()


def test_controls_leave_out_rows_columns_sections_and_intervals(opened):
    view = opened()
    tab = view.tab
    tab.get_by_label("Model or defence").fill("SHUFFLE+")
    assert set(view.column("Defence")) == {"shuffle+smoothing:sigma=0.1"}
    assert len(view.rows()) == 7 and len(view.rows(2)) == 1
    assert tab.locator("#count").inner_text() == "8 of 26 rows"
    tab.get_by_label("Model or defence").fill("")
    attacks = tab.locator("#s1 .groups [data-kind=attack]")
    width = len(view.rows()[0])
    for threat, left in (("oblivious", 1), ("full knowledge", 1), ("", 2)):
        tab.get_by_label("The attacker has").select_option(threat)
        assert tab.locator("#s1 .heads [data-kind=attack]:visible").count() == left == int(attacks.get_attribute("colspan"))
        assert tab.locator("#s1 tbody tr").first.locator("> :visible").count() == width - 2 + left
    assert tab.locator("#s1 .i:visible").count() > 40
    tab.get_by_label("95 % intervals").uncheck()
    assert tab.locator(".i:visible").count() == 0
    tab.locator("#section").select_option("s2")
    assert [tab.locator(f"#s{one}").is_visible() for one in (1, 2)] == [False, True]


ATTACKS = [one for name in ("shapes-linf", "kinetics400-linf") for one in Track.read(name).attacks]


def measured() -> Results:
    """Cells of two tracks, on one set of clips that both have and on one of its own, and an attack that is in neither."""
    cells, models = [], [f"{name}:preset=tiny,frames=none,size=none" for name in ("tsm", "i3d")]
    for number, model in enumerate(models):
        cells.append(made_cell([1.0] * (19 - number) + [0.0] * (1 + number), model))
        for place, attack in enumerate([*ATTACKS[:3], ATTACKS[0].replace("4/255", "1/255")][: 4 - number]):
            cells.append(made_cell([1.0] * (12 - number - 4 * place) + [0.0] * (8 + number + 4 * place), model, attack=attack))
        cells += [made_cell([1.0] * 9 + [0.0] * 11, model, corruption=CORRUPTION, severity=level) for level in range(1, 6)]
    return Results(
        [*cells, made_cell([1.0] * 8, models[0], limit=8), made_cell([0.0] * 8, models[0], limit=8, attack=ATTACKS[0])]
    )


CORRUPTION = Track.read("shapes-corruptions").corruptions[0]
READ = """() => ["header", "main .board"].flatMap(what => [...document.querySelectorAll(what)])
    .filter(one => one.checkVisibility()).map(one => one.innerText)"""


def test_under_a_track_the_page_shows_what_the_board_of_the_track_shows(opened):
    results = measured()
    tracks = by_track(results)
    assert [one.track for one in tracks] == ["shapes-corruptions", "shapes-linf"]
    tab = opened(build(results), [Picture("p", "A plot", "Falls.", b"", PICTURE)], tracks).tab
    whole, seen = tab.evaluate(READ), []
    assert tab.locator("#section option").count() == 3, "the clips of all cells, and not once more those of a track"
    for name in ("shapes-linf", "shapes-corruptions"):
        tab.get_by_label("Track").select_option(name)
        seen.append(tab.evaluate(READ))
        assert seen[-1] == opened(build(results, Track.read(name))).tab.evaluate(READ) and f"Track {name}" in seen[-1][0]
        assert not tab.locator("img").is_visible() and tab.get_by_text(f"--track {name}").is_visible()
        assert tab.locator("#count").inner_text() == "2 rows"
        assert tab.locator("#section option").count() == 2 and "all clips" in tab.locator("#section option").last.inner_text()
    assert len({str(one) for one in (whole, *seen)}) == 3, "neither is the other, nor all cells"
    tab.get_by_label("Track").select_option("all cells")
    assert tab.evaluate(READ) == whole and len(whole) == 3 and tab.locator("img").is_visible()
    assert tab.locator("#section option").count() == 3 and tab.locator("#count").inner_text() == "3 rows"


def test_the_keyboard_alone_chooses_a_track_and_its_clips(opened):
    few = board(2).sections[1]
    tab = opened(board(), (), [Board("T", "About.", (few,), (), "t"), Board("U", "About.", (few, few), (), "u")]).tab
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "track"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.locator("#section").select_option("s2")
    tab.locator("#track").focus()
    for key, places in (("ArrowDown", [3]), ("ArrowDown", [4, 5]), ("Home", [1, 2]), ("End", [4, 5])):
        tab.keyboard.press(key)
        assert [one for one in range(1, 6) if tab.locator(f"#s{one}").is_visible()] == places
        assert tab.locator("#section").input_value() == ""
    tab.locator("#section").select_option("s5")
    assert [tab.locator(f"#s{one}").is_visible() for one in (1, 2, 3, 4, 5)] == [False] * 4 + [True]
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Download CSV").click()
    assert len(Path(saved.value.path()).read_text().splitlines()) == 1 + len(few.rows)
    tab.emulate_media(media="print")
    assert tab.locator("h1:visible").all_inner_texts() == ["U"], "on paper it is the same board"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_either_mode_is_readable_and_the_page_never_scrolls_sideways(opened, width, scheme):
    tab = opened(
        pictures=[Picture("p", "A plot", "Falls.", b"", PICTURE)], viewport={"width": width, "height": 800}, color_scheme=scheme
    ).tab
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("#s1 .scroll").evaluate("one => one.scrollWidth > one.clientWidth") == (width == 360)
    colours = [scheme, "dark" if scheme == "light" else "light"]
    for mode in colours:
        for what in ("body", "#s1 td.worst", "#s1 .flag", ".heads button"):
            assert contrast(tab, what) > 4.5, (mode, what)
        assert (luminance(paint(tab, "body")[1]) > 0.5) == (mode == "light")
        tab.get_by_role("button", name="Dark or light").click()


def paint(tab, what: str) -> tuple[list[float], list[float]]:
    """Ink and ground of an element: its own, or of the next element around it that has one; of a bar, the bar."""
    both = tab.locator(what).first.evaluate("""one => {
        const own = getComputedStyle(one), bar = own.backgroundImage.match(/rgb\\([^)]*\\)/);
        let ground = one;
        while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
        return [own.color, bar ? bar[0] : getComputedStyle(ground).backgroundColor];
    }""")
    ink, ground = ([float(part) for part in one[4:-1].split(",")] for one in both)
    return ink, ground


def luminance(colour: list[float]) -> float:
    """Relative luminance of WCAG 2.2."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (one / 255 for one in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(tab, what: str) -> float:
    low, high = sorted(luminance(one) for one in paint(tab, what))
    return (high + 0.05) / (low + 0.05)


def test_on_paper_there_are_no_controls_but_every_column_in_black_on_white(opened):
    view = opened(color_scheme="dark")
    tab = view.tab
    tab.get_by_label("The attacker has").select_option("oblivious")
    tab.emulate_media(media="print")
    view.settle()
    assert not tab.locator(".controls").is_visible()
    assert tab.locator("#s1 .heads [data-kind=attack]:visible").count() == 2
    assert tab.locator("#s1 .groups [data-kind=attack]").get_attribute("colspan") == "2"
    assert luminance(paint(tab, "body")[1]) == 1 and contrast(tab, "body") > 12
    assert tab.locator("#s1 .scroll").evaluate("one => getComputedStyle(one).overflow") == "visible"
    tab.emulate_media(media="screen")
    view.settle()
    assert tab.locator("#s1 .heads [data-kind=attack]:visible").count() == 1


def test_what_failed_says_why_and_what_was_not_measured_is_a_dash(opened):
    tab = opened().tab
    failed = tab.locator("#s1 tbody td.failed")
    assert failed.count() == 4 and failed.first.get_attribute("title") == "no memory"
    failed.first.locator("a").click()
    assert tab.locator(":target").inner_text() == "no memory"
    assert tab.locator("#s1 ol.notes li").count() == 1
    gaps = tab.locator("#s1 td.none").all_inner_texts()
    assert len(gaps) == 5 + 2 * 6 and set(gaps) == {"-"}
    assert (
        tab.locator("#s1 .flag").first.get_attribute("title")
        == explained("few-clips")
        == "Expected: enough clips. Fires at: 500 clips."
    )


TEXTS = {"h2": 1, "tbody summary": 2, "td.defence": 2, ".flag": 2, ".notes li": 1}
"""What must hold nothing but a name, and how often it is in a section of `test_hostile_names_are_text`."""


def test_hostile_names_are_text(opened):
    sections = []
    for name in HOSTILE:
        rows = (row(7, name, why=name, flags=(name,)), row(14, name, why=name, flags=(name,)))
        sections.append(Section(name, (*COLUMNS, Column(f"{name} ({name})", name, "attack", name)), rows, {}))
    several = "".join(HOSTILE)
    shown = Board(several, several, tuple(sections), HOSTILE, several)
    tracks = [Board(name, name, (), (), name) for name in HOSTILE]
    tab = opened(shown, [Picture(name, name, name, b"", PICTURE) for name in HOSTILE], tracks).tab
    read = "(all, name) => all.map(one => name ? one.getAttribute(name) : one.textContent)"
    for what in ("h1", ".about", "header .track bdi"):
        assert tab.eval_on_selector_all(what, read) == [several, *HOSTILE]
    assert tab.title() == " ".join(several.split())
    assert tab.eval_on_selector_all("#track option", read) == [several, *HOSTILE]
    for number, name in enumerate(HOSTILE, start=1):
        for what, count in TEXTS.items():
            texts = tab.eval_on_selector_all(f"#s{number} {what}" if what != ".flag" else f"#s{number} td .flag", read)
            assert texts == [name] * count, what
        for what, attribute in (("td.failed", "title"), ("tbody summary", "title"), ("td.defence", "data-v")):
            assert set(tab.eval_on_selector_all(f"#s{number} {what}", read, attribute)) == {name}
        for head in (f"#s{number} .heads th[data-threat] bdi", f"#s{number} .heads th[data-threat] .knows"):
            assert name in tab.eval_on_selector_all(head, read)
    for what in ("figcaption", ".refused li", "#section option:not([value=''])"):
        assert tab.eval_on_selector_all(what, read) == list(HOSTILE)
    assert tab.eval_on_selector_all("img", read, "alt") == list(HOSTILE)
    assert tab.locator("script").count() == 1
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Download CSV").click()
    with Path(saved.value.path()).open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 3 * len(HOSTILE) and {len(line) for line in lines} == {5 + 7 + 3 + 1}
    for name, line in zip(HOSTILE, lines[1::3], strict=True):
        assert line[0] == line[3] == line[4] == line[13] == (f"'{name}" if name.startswith("=") else name)
        assert line[7] == "58.2 [10.0, 70.0]"


def test_a_picture_is_drawn_and_nothing_of_it_runs(opened):
    tab = opened(pictures=[Picture("p", "A plot", "Falls.", b"", PICTURE)]).tab
    drawn = """one => { const c = document.createElement("canvas").getContext("2d"); c.drawImage(one, 0, 0);
        return [one.naturalWidth, [...c.getImageData(5, 5, 1, 1).data]]; }"""
    assert tab.locator("img").evaluate(drawn) == [40, [0, 128, 0, 255]]


def test_the_page_forbids_what_it_does_not_need(opened):
    view = opened()
    view.tab.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        document.body.setAttribute("onclick", "window.ran = true");
        document.body.click();
        document.body.append(Object.assign(new Image(), {src: "https://example.invalid/x.png"}));
    }""")
    view.tab.wait_for_timeout(50)
    assert view.tab.evaluate("window.ran") is None
    assert len(view.wrong) == 3 and all("Content Security Policy" in line for line in view.wrong)
    view.wrong.clear()
    view.asked.clear()


def test_without_javascript_it_is_a_sorted_table(opened):
    view = opened(tracks=[board()], java_script_enabled=False)
    assert not view.tab.locator(".controls").is_visible()
    assert view.tab.locator("#s1 tbody tr").count() == 23
    assert view.tab.locator("#s1 td.worst .v").all_inner_texts()[:3] == ["60.0", "59.8", "59.5"]
    assert view.tab.locator("#s1 .heads button:enabled").count() == 0
    assert view.tab.locator("h1:visible").count() == 1, "of its tracks it shows none"


class Tags(HTMLParser):
    """Counts elements, and whether each is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.bad = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.seen += 1
        names = [name for name, _ in attrs]
        self.bad += [(tag, name) for name in names if name.startswith("on") or name == "style" or names.count(name) > 1]
        if tag not in ("meta", "input", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)


def test_the_markup_is_sound_and_the_browser_reads_the_same_elements(opened):
    section = Section(HOSTILE[0], COLUMNS, tuple(row(7, name, why=name) for name in HOSTILE), {})
    shown = Board(HOSTILE[1], HOSTILE[2], (section, *board().sections), HOSTILE)
    text = page(shown, [], [board()])
    tags = Tags()
    tags.feed(text)
    assert (tags.bad, tags.open) == ([], [])
    inert = opened(shown, (), [board()], java_script_enabled=False).tab
    assert inert.locator("*").count() == tags.seen
    assert page(shown, [], [board()]) == text
    assert html.escape(HOSTILE[0]) in text
