"""Texts on their way out: WhatsApp's markup, parts that fit, and bounded prompts."""

import random

import pytest

from whatsapp_agent.text.markdown import to_whatsapp
from whatsapp_agent.text.split import WHATSAPP_LIMIT, shorten, split_text

FAMILY = "👨‍👩‍👧‍👦"


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def without_fences(text: str) -> str:
    return "".join(text.replace("```", "").split())


# --- Markdown ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("markdown", "whatsapp"),
    [
        # emphasis
        ("**bold** and __bold__", "*bold* and *bold*"),
        ("~~gone~~", "~gone~"),
        ("*as it is* and _as it is_ and ~as it is~", "*as it is* and _as it is_ and ~as it is~"),
        ("***both***", "*_both_*"),
        ("**bold *and italic* bold**", "*bold _and italic_ bold*"),
        ("**bold *both***", "*bold _both_*"),
        ("*italic **both** italic*", "_italic *both* italic_"),
        ("_**both**_ and **_both_**", "_*both*_ and *_both_*"),
        ("~~**x**~~", "~*x*~"),
        ("**çödé** **重点** 😀**!**😀", "*çödé* *重点* 😀*!*😀"),
        ("**Price:** $10, **(net)**", "*Price:* $10, *(net)*"),
        # what only looks like emphasis
        ("2 * 3 * 4 ** 5", "2 * 3 * 4 ** 5"),
        ("snake_case, a__b__c, _x and y_z", "snake_case, a__b__c, _x and y_z"),
        ("**not closed *at all", "**not closed *at all"),
        ("** spaced ** and **** and *", "** spaced ** and **** and *"),
        ("***", "***"),
        # headings, rules
        ("# Title", "*Title*"),
        ("### **Title** and `code` ###", "*Title and `code`*"),
        ("## Head\ntext", "*Head*\ntext"),
        ("#hashtag and # 1", "#hashtag and # 1"),
        ("C#", "C#"),
        ("a\n\n---\n\nb", "a\n\nb"),
        ("a\n* * *\nb\n___\nc", "a\n\nb\n\nc"),
        # links
        ("[our site](https://a.b/c)", "our site (https://a.b/c)"),
        ("[https://a.b](https://a.b) [a.b](https://www.a.b/)", "https://a.b https://www.a.b/"),
        ("**[our *own* site](https://a.b)**", "*our _own_ site (https://a.b)*"),
        ("[wiki](https://a.b/A_(b)) end", "wiki (https://a.b/A_(b)) end"),
        ('[t](https://a.b "A title")', "t (https://a.b)"),
        ("![a cat](https://a.b/c.png) ![](https://a.b/d.png)", "a cat (https://a.b/c.png) https://a.b/d.png"),
        ("[![logo](https://a.b/i)](https://a.b)", "logo (https://a.b/i) (https://a.b)"),
        ("[mail](mailto:a@b.c) [a@b.c](mailto:a@b.c) [up](#top)", "mail (a@b.c) a@b.c up"),
        ("<https://a.b> <mailto:a@b.c>", "https://a.b a@b.c"),
        ("[1] [x] (y) [z](see below)", "[1] [x] (y) [z](see below)"),
        ("https://a.b/__x__?q=**y** and **https://a.b**.", "https://a.b/__x__?q=**y** and https://a.b."),
        ("www.a.b/x__y__z", "www.a.b/x__y__z"),
        # lists, quotes
        ("* one\n+ two\n- three\n  * **four**: 4", "- one\n- two\n- three\n  - *four*: 4"),
        ("1. one\n2) two", "1. one\n2) two"),
        ("> **quoted**\n> > - twice\n>", "> *quoted*\n> > - twice\n>"),
        # code
        ("`**x** [a](b) \\*` is code", "`**x** [a](b) \\*` is code"),
        ("``a `b` c``", "```a `b` c```"),
        ("```python\n**x** = __y__\n\n\n# no heading\n```\n**z**", "```\n**x** = __y__\n\n\n# no heading\n```\n*z*"),
        ("~~~\n```\n~~~", "```\n```\n```"),
        ("- a\n  ```sh\n  ls\n    -l\n  ```", "- a\n```\nls\n  -l\n```"),
        ("```\nnever closed\n", "```\nnever closed\n```"),
        ("`not closed **x**", "`not closed *x*"),
        ("```in one line```", "```in one line```"),
        # tables
        (
            "| Plan | Price |\n|---|---:|\n| **Basic** | $10 |\n| Pro | |\n\nend",
            "- Plan: *Basic*; Price: $10\n- Plan: Pro\n\nend",
        ),
        ("A | B\n--- | ---\n1 | 2<br>3", "- A: 1; B: 2 3"),
        ("| A |\n|---|\n| x \\| `y|z` |", "- A: x | `y|z`"),
        ("| A | B |\n|---|---|", "A | B"),
        ("|a|b|\n|--|--|\n|1|2|3|", "- a: 1; b: 2; 3"),
        ("this | that", "this | that"),
        # HTML, entities, escapes
        ("a<br>b<br/>c<BR />d", "a\nb\nc\nd"),
        ("<b>x</b> <strong>y</strong> <i>z</i> <del>w</del>", "*x* *y* _z_ ~w~"),
        ("<your name> & 1 < 2 > 0", "<your name> & 1 < 2 > 0"),
        ("&lt;br&gt; &amp; &euro; &nosuch; &#x41;", "<br> & € &nosuch; A"),
        ("\\*\\*x\\*\\* 1\\. \\# \\[a](b)", "**x** 1. # [a](b)"),
        # whitespace
        ("a  \nb\\\nc in C:\\", "a\nb\nc in C:\\"),
        ("a\r\n\r\n\r\n\r\nb", "a\n\nb"),
        ("\n\n a \n\n", " a"),
        ("", ""),
        ("&nbsp;", "&nbsp;"),
        ("مرحبا **بك**", "مرحبا *بك*"),
    ],
)
def test_markdown_becomes_what_whatsapp_shows(markdown, whatsapp):
    assert to_whatsapp(markdown) == whatsapp


@pytest.mark.parametrize(
    ("markdown", "whatsapp"),
    [
        ("**https://a.b**", "https://a.b"),
        ("_https://a.b/c_", "https://a.b/c"),
        ("# https://a.b", "https://a.b"),
        ("# Site: https://a.b", "*Site:* https://a.b"),
        ("**Site: https://a.b**", "*Site:* https://a.b"),
        ("**https://a.b is it**", "https://a.b *is it*"),
        ("***https://a.b***", "https://a.b"),
        ("~~https://a.b~~", "https://a.b"),
        ("<b>https://a.b</b>", "https://a.b"),
        ("*https://a.b*", "https://a.b"),
        ("_Site: https://a.b/x_", "_Site:_ https://a.b/x"),
        ("**Site (https://a.b)**", "*Site* (https://a.b)"),
        ("**See https://a.b now**", "*See https://a.b now*"),
        ("**www.a.b**", "www.a.b"),
        ("**<https://a.b>**", "https://a.b"),
        ("**[https://a.b](https://a.b)**", "https://a.b"),
        ("**Site:**https://a.b", "Site:https://a.b"),
        ("**https://a.b.**", "https://a.b."),
        ("__https://a.b__", "https://a.b"),
        ("**a: https://a.b _b: https://c.d_**", "*a: https://a.b _b:_* https://c.d"),
        ("**Site:\nhttps://a.b**", "*Site:*\nhttps://a.b"),
        ("| **https://a.b** | x |\n|---|---|\n| **https://a.b** | y |", "- https://a.b: https://a.b; x: y"),
        ("snake_case https://a.b/c_", "snake_case https://a.b/c_"),
        ("[**x**](https://a.b)", "*x* (https://a.b)"),
        ("**a** https://a.b **c**", "*a* https://a.b *c*"),
        ("> **https://a.b**", "> https://a.b"),
        ("- **Site**: https://a.b", "- *Site*: https://a.b"),
        ("`https://a.b`", "`https://a.b`"),
        ("**Site:** **https://a.b**", "*Site:* https://a.b"),
        ("_**https://a.b**_", "https://a.b"),
        ("~https://a.b~ and ~~https://a.b/~user/~~", "https://a.b and https://a.b/~user/"),
        ("**https://a.b and *https://a.b and _https://a.b", "https://a.b and https://a.b and https://a.b"),
        ("https://a.b** and https://a.b* and https://a.b~~", "https://a.b and https://a.b and https://a.b"),
        ("\\*https://a.b\\*", "https://a.b"),
        ("https://a.b**now**", "https://a.b *now*"),
        ("**a**https://a.b**b**", "*a* https://a.b *b*"),
        ("_Site_https://a.b", "_Site_ https://a.b"),
        ("**https://a.b/c**;text", "https://a.b/c;text"),
        ("**https://a.b**https://a.b", "https://a.b https://a.b"),
        ("_https://a.b/c__", "https://a.b/c_"),
        ("_a **https://a.b/c_** b_", "_a https://a.b/c_ b_"),
        ("**Site：https://a.b**", "Site：https://a.b"),
        ("*Visit https://a.b, now*", "*Visit https://a.b, now*"),
        ("https://a.b/c*d*e and https://a.b/*", "https://a.b/c*d*e and https://a.b/"),
        ("~~a\nhttps://a.b~~", "~a~\nhttps://a.b"),
        ("**https://a.b\nhttps://c.d**", "https://a.b\nhttps://c.d"),
    ],
)
def test_no_mark_touches_an_address(markdown, whatsapp):
    assert to_whatsapp(markdown) == whatsapp


@pytest.mark.parametrize(
    ("markdown", "whatsapp"),
    [
        ("**bold\nover lines**", "*bold*\n*over lines*"),
        ("a **bold\nthree\nlines** end", "a *bold*\n*three*\n*lines* end"),
        ("**\nText\n**", "*Text*"),
        ("- **a\n- b**", "- *a*\n- *b*"),
        ("> **a\n> b**", "> *a*\n> *b*"),
        ("**a\n\nb**", "**a\n\nb**"),
        ("```\n**a\nb**\n```", "```\n**a\nb**\n```"),
        ("~~a\nb~~", "~a~\n~b~"),
        ("***a\nb***", "*_a_*\n*_b_*"),
        ("**a\\\nb**", "*a*\n*b*"),
        ("**a\r\nb  \nc**", "*a*\n*b*\n*c*"),
        ("**a\n| x |\n|---|\n| 1 |\n**b**", "**a\n- x: 1\n*b*"),
        ("**See https://a.b\nand more**", "*See* https://a.b\n*and more*"),
        ("__a\nb__", "*a*\n*b*"),
        ("`**`\nb **c**", "`**`\nb *c*"),
        ("2 ** 3\nb**", "2 ** 3\nb**"),
        ("<b>x", "*x"),
    ],
)
def test_emphasis_over_several_lines_stands_in_each_line(markdown, whatsapp):
    assert to_whatsapp(markdown) == whatsapp


HOSTILE = {
    "asterisks": "*" * 100_000,
    "openers": "**a " * 30_000,
    "singles": "*a" * 50_000,
    "singles before bold": "*a " * 20_000 + "b** " * 20_000,
    "underscores": "__a " * 30_000,
    "brackets": "[" * 100_000,
    "links never closed": "[a](" * 30_000,
    "links within links": "[" * 30_000 + "a" + "](b)" * 30_000,
    "parentheses": "[](" * 30_000 + ")" * 30_000,
    "ticks of every length": " ".join("`" * (length % 400) for length in range(600)),
    "fences": "```\n" * 25_000,
    "a fence never closed": "```" + "x\n" * 50_000,
    "quotes": ">   " * 25_000,
    "headings": "# #" * 30_000,
    "rules": "- " * 50_000 + "x",
    "bars": "|" * 100_000 + "\n|-|",
    "tables": "|a|\n|-|\n" * 10_000,
    "backslashes": "\\" * 100_000,
    "entities": "&" * 50_000 + "&amp" * 10_000,
    "tags": "<br" * 30_000,
    "addresses": "http://" * 15_000,
    "lines": "\n" * 100_000,
    "spaces": " " * 100_000 + "x",
    "addresses in bold": "**https://a.b** " * 7_000,
    "bold over lines": "**a\n" * 25_000,
    "marks in one address": "https://a" + "**b" * 30_000,
    "marks of italics": "*_*_" * 25_000,
    "marks behind addresses": "https://a/" + "*~" * 50_000,
    "addresses between marks": "_**https://a.b/c_**" * 5_000,
    "joiners": "a" + "\u200d" * 100_000,
    "flags": "🇧🇷" * 50_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_converted_and_split_in_bounded_time(text, budget_s):
    with budget_s(5):  # they take 0.01 to 0.5 s; what is quadratic takes minutes
        parts = split_text(to_whatsapp(text))
    assert all(part.strip() and units(part) <= WHATSAPP_LIMIT for part in parts)


# --- Splitting ---------------------------------------------------------------------------------------------------
def test_a_text_that_fits_is_one_part():
    assert split_text("a" * WHATSAPP_LIMIT) == ["a" * WHATSAPP_LIMIT]
    assert split_text("  Hello\n\nyou \n") == ["Hello\n\nyou"]


@pytest.mark.parametrize("blank", ["", " ", "\n\n", "\t\u3000"])
def test_a_blank_text_has_no_parts(blank):
    assert split_text(blank) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two\nthree.\n\nFour five. Six", ["One. Two\nthree.", "Four five. Six"]),
        ("One. Two three\nfour five. Six", ["One. Two three", "four five. Six"]),
        ("One two three. Four five six", ["One two three.", "Four five six"]),
        ("One two three, four five six", ["One two three, four", "five six"]),
        ("一二三四五六七八九十。一二三四五六七八九十", ["一二三四五六七八九十。", "一二三四五六七八九十"]),
        ("a" * 25, ["a" * 20, "a" * 5]),
        ("a" * 20 + " b", ["a" * 20, "b"]),
        ("a" * 20 + "\n\n" + "b" * 20, ["a" * 20, "b" * 20]),
    ],
)
def test_a_text_is_cut_at_the_best_place(text, parts):
    assert split_text(text, 20) == parts


@pytest.mark.parametrize("character", [FAMILY, "👩🏽‍💻", "🇧🇷", "e\u0301", "😀", "❤️", "🏳️‍🌈"])
@pytest.mark.parametrize("limit", range(20, 32))
def test_no_cut_lies_within_an_emoji_or_an_accented_letter(character, limit):
    parts = split_text(character * 40, limit)
    assert "".join(parts) == character * 40
    assert all(len(part) % len(character) == 0 and units(part) <= limit for part in parts)


def test_length_is_counted_in_utf16_units():
    assert [units(part) for part in split_text("😀" * 5000)] == [4096, 4096, 1808]


def test_code_that_is_cut_is_closed_and_opened_again():
    code = "\n".join(f"    line {number}" for number in range(24))
    parts = split_text(f"Here:\n\n```\n{code}\n```\nDone.", 100)
    assert len(parts) > 2
    assert all(part.count("```") % 2 == 0 and units(part) <= 100 for part in parts)
    lines = [line for part in parts for line in part.split("\n") if line.startswith("    line")]
    assert "\n".join(lines) == code


def test_code_that_begins_late_in_a_part_begins_with_the_next():
    words, code = ("word " * 16).strip(), "```\n" + "code\n" * 6 + "```"
    assert split_text(f"{words}\n{code}", 100) == [words, code]


def test_a_limit_without_room_for_a_character_is_refused():
    with pytest.raises(ValueError, match="limit"):
        split_text("text", 1)


def test_a_split_text_loses_only_whitespace_at_the_cuts():
    dice = random.Random(7)
    pieces = [
        "a",
        "word",
        " ",
        "\n",
        "\n\n",
        "\n```\n",
        ". ",
        "。",
        FAMILY,
        "🇧🇷",
        "e\u0301",
        "x" * 50,
        "    code\n",
        "字" * 20,
    ]
    pieces += ["\u200d" * 40, "\u0301" * 40, "`", "\ud83d"]
    for _ in range(2000):
        text = "".join(dice.choices(pieces, k=dice.randint(0, 80)))
        text += "\n```" if text.count("```") % 2 else ""
        limit = dice.choice([64, 65, 80, 100, 200])
        parts = split_text(text, limit)
        assert "".join(map(without_fences, parts)) == without_fences(text)
        assert all(part.strip() and units(part) <= limit and part.count("```") % 2 == 0 for part in parts)


# --- Shortening --------------------------------------------------------------------------------------------------
def test_a_short_text_is_not_shortened():
    assert shorten("Hello", 5) == "Hello"


def test_a_long_text_keeps_its_beginning_and_end_and_states_how_much_is_missing():
    short = shorten("Dear all, " + "x" * 100_000 + " so when do you open?", 2000)
    assert len(short) <= 2000
    assert short.startswith("Dear all, ")
    assert short.endswith(" so when do you open?")
    assert "of 100,031 characters left out" in short


@pytest.mark.parametrize("limit", [*range(120), 999])
@pytest.mark.parametrize("text", ["a" * 5000, FAMILY * 700, "\u0301" * 5000], ids=["letters", "emoji", "accents"])
def test_a_shortened_text_is_never_longer_than_the_limit(text, limit):
    assert len(shorten(text, limit)) <= limit
