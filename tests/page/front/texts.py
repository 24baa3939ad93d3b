"""Texts that rows of the stand-in server have: usual ones, and ones that mean harm."""

from __future__ import annotations

from typing import Any

TREE: list[Any] = [
    ["h2", {}, "Summary"],
    ["p", {}, "The reviewer is ", ["strong", {}, "mostly content"], ": the charger works, the cable does not. See ",
     ["a", {"href": "https://example.org/reviews"}, "the thread"], "."],
    ["ul", {}, ["li", {}, "Sentiment: ", ["code", {}, "mixed"]], ["li", {}, "Wants a refund: ", ["em", {}, "no"]]],
    ["pre", {}, ["code", {"class": "language-python"},
                 'def refund(order):\n    # only within 30 days\n    return order.days < 30 and "yes" or None\n']],
    ["table", {}, ["thead", {}, ["tr", {}, ["th", {}, "part"], ["th", {}, "verdict"]]],
     ["tbody", {}, ["tr", {}, ["td", {}, "charger"], ["td", {}, "good"]], ["tr", {}, ["td", {}, "cable"], ["td", {}, "frayed"]]]],
]  # fmt: skip
MARKDOWN = (
    "## Summary\n\nThe reviewer is **mostly content**: the charger works, the cable does not. See "
    "[the thread](https://example.org/reviews).\n\n- Sentiment: `mixed`\n- Wants a refund: *no*\n\n```python\n"
    'def refund(order):\n    # only within 30 days\n    return order.days < 30 and "yes" or None\n```\n'
)
ASKED = [
    "Summarize in one sentence: The cable frayed after two weeks, but support sent a new one within days.",
    "Summarize in one sentence: Battery lasts a whole weekend. The app, on the other hand, wants my contacts.",
    "Summarize in one sentence: Arrived late, box crushed, device fine. Would buy again at this price.",
    "Summarize in one sentence: Der Akku hält länger als versprochen, die Anleitung ist aber nur auf Englisch.",
    "Summarize in one sentence: 充電は速いが、ケーブルが短すぎる。返金を希望します。",
    "Summarize in one sentence: المنتج جيد لكن التوصيل تأخر أسبوعين كاملين عن الموعد.",
]
ANSWERS = [
    "The cable failed early, but support replaced it quickly.",
    "Battery life pleases; the app's appetite for contacts does not.",
    "Late and battered packaging, but a working device that is worth its price.",
    "Battery better than promised; instructions in English only.",
    "充電は速いが、ケーブルが短く返金希望。",
    "منتج جيد مع تأخر في التوصيل.",
]
STRIKE = "window.struck = (window.struck || 0) + 1"
HOSTILE = [
    f"<script>{STRIKE}</script>",
    f'<img src=x onerror="{STRIKE}">',
    f'"><svg/onload="{STRIKE}">',
    f"</script><script>{STRIKE}</script>",
    f'<iframe srcdoc="<script>parent.struck=1</script>"></iframe><a href="javascript:{STRIKE}">click</a>',
    "<style>*{display:none!important}</style><base href=//evil.example/><meta http-equiv=refresh content=0;url=//evil.example>",
    "right-to-left \u202eoverride txt.exe\u202c, a bell \u0007, an escape \u001b[31mred\u001b[0m, a nul \u0000, zero\u200bwidth",
    "W" * 5_000,
    "Z̸̡͇̥̫̰̫̲̼̩͖͉̦̬͓̝̎̈͐̾̓̃͗̈́̀͋̈́ą̶̛̛̯̖͈̓̃́̅͛͗̉̂̋͊l̶̡̛͉̤̺̼̥̟̹̻͖̯̓͒̿̂̅̈́̃̓ġ̵̨̭̹̤͎͙͎̪̝̘̤̍́̈́̎̈́̾ͅo̷̢͖̮̱̤̻̫͎̎̈͑̐̓ " * 4,
    "👩‍👩‍👧‍👦🏳️‍🌈 ﷽﷽﷽ ＷＩＤＥ 你好世界 " * 8,
    "{{constructor.constructor('" + STRIKE + "')()}} ${" + STRIKE + "} <%= 1 %>",
    "\n".join(f"line {number}" for number in range(3_000)),
]
HOSTILE_TREE: list[Any] = [
    ["script", {}, STRIKE],
    ["p", {"onclick": STRIKE, "style": "position:fixed;inset:0;background:red", "class": "skip"}, "a paragraph that ",
     ["a", {"href": f"javascript:{STRIKE}", "onmouseover": STRIKE}, "links to a script"], " and ",
     ["a", {"href": f"  JaVaScRiPt:{STRIKE}"}, "again"], ["a", {"href": f"data:text/html,<script>{STRIKE}</script>"}, " and again"]],
    ["img", {"src": "https://evil.example/pixel.png", "onerror": STRIKE}],
    ["iframe", {"src": "https://evil.example/"}, "framed"],
    ["form", {"action": "https://evil.example/"}, ["input", {"name": "q", "autofocus": "", "onfocus": STRIKE}]],
    ["__proto__", {}, "a tag of every object"], ["constructor", {}, "and another"],
    ["ol", {"start": "9999999999999999999999"}, ["li", {}, "far"]],
]  # fmt: skip


def deep(levels: int = 5_000) -> list[Any]:
    """A tree that is deeper than a stack: built from within."""
    tree: list[Any] = ["em", {}, "the bottom"]
    for _ in range(min(levels, 400)):  # more, and Python's own json gives up
        tree = ["blockquote", {}, tree]
    return tree
