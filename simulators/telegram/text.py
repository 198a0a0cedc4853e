"""Formatted text: the three parse modes, entities given as a list, and what Telegram finds by itself.

Entity offsets on the wire are UTF-16 units; error messages name byte offsets of the source text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulators.telegram.errors import bad

Wire = dict[str, Any]

# Bytes of raw text before parsing. The other limit, 4096 characters, is on the result.
RAW_LIMIT = 32_768
ENTITY_LIMIT = 100

ENTITY_TYPES = frozenset(
    "mention hashtag cashtag bot_command url email phone_number bold italic underline strikethrough spoiler blockquote "
    "expandable_blockquote code pre text_link text_mention custom_emoji date_time".split()
)


@dataclass(slots=True)
class Formatted:
    """Text as people see it, with its entities in wire form."""

    text: str
    entities: list[Wire]


def utf16(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut_utf16(text: str, offset: int, length: int) -> str:
    units = text.encode("utf-16-le", "surrogatepass")
    return units[2 * offset : 2 * (offset + length)].decode("utf-16-le", "replace")


def formatted(text: str, parse_mode: str, entities: Any) -> Formatted:
    """What a bot's `text`, `parse_mode` and `entities` come to; raises 400 as the server does."""
    if len(text) > RAW_LIMIT // 4 and len(text.encode()) > RAW_LIMIT:
        raise bad("text is too long")
    mode = parse_mode.lower()
    if mode and mode != "none":
        parser = {"html": parse_html, "markdownv2": parse_markdown_v2, "markdown": parse_markdown}.get(mode)
        if parser is None:
            raise bad("unsupported parse_mode")
        result = parser(text)
    else:
        result = Formatted(text, _given(entities))
    result = _trimmed(result)
    result.entities = _with_found(result)
    return result


def found(text: str) -> list[Wire]:
    """The entities of a person's plain text."""
    return _with_found(Formatted(text, []))


def _given(entities: Any) -> list[Wire]:
    if entities is None:
        return []
    if not isinstance(entities, list):
        return []  # the server ignores what is not a list
    kept: list[Wire] = []
    for entity in entities:
        if not isinstance(entity, dict):
            raise bad("can't parse MessageEntity: expected an Object")
        kind = entity.get("type")
        offset, length = entity.get("offset"), entity.get("length")
        if not isinstance(offset, int) or not isinstance(length, int):
            raise bad('can\'t parse MessageEntity: Field "offset" must be of type Number')
        if kind in ENTITY_TYPES and length > 0 and offset >= 0:
            kept.append({**entity})
    return sorted(kept, key=lambda entity: (entity["offset"], -entity["length"]))


def _trimmed(formatted: Formatted) -> Formatted:
    """Telegram cuts white space at both ends; entities move with the text."""
    text = formatted.text.replace("\r", "").replace("\x00", " ")
    left = utf16(text) - utf16(text.lstrip())
    text = text.strip()
    if not formatted.entities:
        return Formatted(text, [])
    end = utf16(text)
    kept: list[Wire] = []
    for entity in formatted.entities:
        start = max(0, entity["offset"] - left)
        stop = min(end, entity["offset"] + entity["length"] - left)
        if stop > start:
            kept.append({**entity, "offset": start, "length": stop - start})
    return Formatted(text, kept)


# --- what Telegram finds by itself ----------------------------------------------------------------------------------

_FINDERS: Sequence[tuple[str, re.Pattern[str]]] = (
    ("url", re.compile(r"(?<![\w@./])(?:https?|tg|ton)://[^\s<>\"«»]+[^\s<>\"«».,:;!?)'\]]")),
    (
        "email",
        re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(?![\w@])"),
    ),
    (
        "url",
        re.compile(
            r"(?<![\w@./-])(?:[A-Za-z0-9-]+\.)+(?:com|org|net|it|io|me|eu|de|fr|uk|info|shop|app|dev)"
            r"(?:/[^\s<>\"]*[^\s<>\".,:;!?)'\]])?(?![\w@-])"
        ),
    ),
    ("bot_command", re.compile(r"(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z][A-Za-z0-9_]{2,31})?(?![\w/])")),
    ("mention", re.compile(r"(?<![\w@/])@[A-Za-z][A-Za-z0-9_]{2,31}(?!\w)")),
    ("hashtag", re.compile(r"(?<![\w#])#(?!\d+(?!\w))\w{1,255}")),
    ("cashtag", re.compile(r"(?<![\w$])\$[A-Z]{1,8}(?!\w)")),
    ("phone_number", re.compile(r"(?<![\w+])\+\d(?:[ -]?\d){7,14}(?!\w)")),
)
_TELLTALE = re.compile(r"[/@#$.+]")
_CODE = frozenset({"code", "pre", "text_link", "text_mention", "url", "email"})


def _with_found(formatted: Formatted) -> list[Wire]:
    text, entities = formatted.text, formatted.entities
    if not _TELLTALE.search(text):
        return entities[:ENTITY_LIMIT]
    ascii_only = text.isascii()
    closed = [(each["offset"], each["offset"] + each["length"]) for each in entities if each["type"] in _CODE]
    result = list(entities)
    for kind, pattern in _FINDERS:
        for match in pattern.finditer(text):
            start = match.start() if ascii_only else utf16(text[: match.start()])
            length = match.end() - match.start() if ascii_only else utf16(match.group())
            if all(start + length <= low or start >= high for low, high in closed):
                result.append({"offset": start, "length": length, "type": kind})
                closed.append((start, start + length))
    result.sort(key=lambda entity: (entity["offset"], -entity["length"]))
    return result[:ENTITY_LIMIT]


# --- HTML -----------------------------------------------------------------------------------------------------------

_HTML_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "a": "text_link",
    "span": "spoiler",
    "tg-emoji": "custom_emoji",
    "tg-time": "date_time",
}
_HTML_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_HTML_ENTITY = re.compile(r"&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(lt|gt|amp|quot));?")
_SPACES = " \t\r\n\v\f\0"


def _cannot(sentence: str) -> Exception:
    return bad(f"can't parse entities: {sentence}")


def _bytes_before(text: str, index: int) -> int:
    return len(text[:index].encode("utf-8", "surrogatepass"))


def _decode_html(text: str, index: int) -> tuple[str, int]:
    """The character at `index`, decoded when it is a known `&…;`, and where the next one begins."""
    match = _HTML_ENTITY.match(text, index)
    if match is None:
        return text[index], index + 1
    hexadecimal, decimal, name = match.groups()
    if name:
        return _HTML_ENTITIES[name], match.end()
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return text[index], index + 1
    return chr(code), match.end()


@dataclass(slots=True)
class _Open:
    """A tag or mark that waits for its end."""

    name: str
    start: int  # UTF-16 offset in the result
    at: int  # byte offset in the source
    attributes: dict[str, str]


def parse_html(text: str) -> Formatted:
    """Telegram's HTML: a handful of tags, strictly nested."""
    out: list[str] = []
    entities: list[Wire] = []
    stack: list[_Open] = []
    size = 0
    i = 0
    while i < len(text):
        char = text[i]
        if char == "&":
            char, i = _decode_html(text, i)
        elif char == "<":
            if text.startswith("</", i):
                i = _html_end(text, i, stack, entities, size)
            else:
                opened, i = _html_start(text, i, size)
                stack.append(opened)
            continue
        else:
            i += 1
        out.append(char)
        size += 2 if char > "\uffff" else 1
    if stack:
        raise _cannot(f'Can\'t find end tag corresponding to start tag "{stack[-1].name}"')
    entities.sort(key=lambda entity: (entity["offset"], -entity["length"]))
    return Formatted("".join(out), _links_without_target(entities, "".join(out)))


def _html_start(text: str, begin: int, size: int) -> tuple[_Open, int]:
    at = _bytes_before(text, begin)
    i = begin + 1
    while i < len(text) and text[i] not in _SPACES and text[i] != ">":
        i += 1
    if i >= len(text):
        raise _cannot(f"Unclosed start tag at byte offset {at}")
    name = text[begin + 1 : i].lower()
    if name not in _HTML_TYPES:
        raise _cannot(f'Unsupported start tag "{name}" at byte offset {at}')
    attributes: dict[str, str] = {}
    while True:
        while i < len(text) and text[i] in _SPACES:
            i += 1
        if i >= len(text):
            raise _cannot(f"Unclosed start tag at byte offset {at}")
        if text[i] == ">":
            break
        key, value, i = _html_attribute(text, i, name, at)
        attributes[key] = value
    if name == "span" and attributes.get("class") != "tg-spoiler":
        raise _cannot(f'Tag "span" must have class "tg-spoiler" at byte offset {at}')
    if name == "tg-emoji" and not attributes.get("emoji-id"):
        raise _cannot(f'Tag "tg-emoji" must have attribute "emoji-id" at byte offset {at}')
    return _Open(name, size, at, attributes), i + 1


def _html_attribute(text: str, i: int, tag: str, at: int) -> tuple[str, str, int]:
    begin = i
    while i < len(text) and text[i] not in _SPACES and text[i] not in "=>/\"'":
        i += 1
    key = text[begin:i].lower()
    if not key:
        raise _cannot(f'Empty attribute name in the tag "{tag}" at byte offset {_bytes_before(text, begin)}')
    while i < len(text) and text[i] in _SPACES:
        i += 1
    if i >= len(text) or text[i] != "=":
        if tag == "blockquote" and key == "expandable":
            return key, "", i
        raise _cannot(
            f'Expected equal sign in declaration of an attribute of the tag "{tag}" '
            f"at byte offset {_bytes_before(text, begin)}"
        )
    i += 1
    while i < len(text) and text[i] in _SPACES:
        i += 1
    if i >= len(text):
        raise _cannot(f"Unclosed start tag at byte offset {at}")
    if text[i] not in "\"'":
        begin = i
        while i < len(text) and (text[i].isalnum() or text[i] in ".-"):
            i += 1
        if i == begin:
            raise _cannot(f"Unexpected end of name token at byte offset {_bytes_before(text, begin)}")
        return key, text[begin:i].lower(), i
    quote, i = text[i], i + 1
    value: list[str] = []
    while i < len(text) and text[i] != quote:
        char, i = _decode_html(text, i)
        value.append(char)
    if i >= len(text):
        raise _cannot(f"Unclosed start tag at byte offset {at}")
    return key, "".join(value), i + 1


def _html_end(text: str, begin: int, stack: list[_Open], entities: list[Wire], size: int) -> int:
    at = _bytes_before(text, begin)
    if not stack:
        raise _cannot(f"Unexpected end tag at byte offset {at}")
    i = begin + 2
    while i < len(text) and text[i] not in _SPACES and text[i] != ">":
        i += 1
    name = text[begin + 2 : i].lower()
    while i < len(text) and text[i] in _SPACES:
        i += 1
    if i >= len(text) or text[i] != ">":
        raise _cannot(f"Unclosed end tag at byte offset {at}")
    opened = stack.pop()
    if name and name != opened.name:
        raise _cannot(
            f'Unmatched end tag at byte offset {at}, expected "</{opened.name}>", found "</{name}>"'
        )
    if size > opened.start:
        entity = {"offset": opened.start, "length": size - opened.start, "type": _HTML_TYPES[opened.name]}
        _html_details(entity, opened, entities)
    return i + 1


def _html_details(entity: Wire, opened: _Open, entities: list[Wire]) -> None:
    language = opened.attributes.get("class", "")
    if opened.name == "a":
        entity["url"] = opened.attributes.get("href", "")
    elif opened.name == "tg-emoji":
        entity["custom_emoji_id"] = opened.attributes["emoji-id"]
    elif opened.name == "tg-time":
        entity["unix_time"] = int(opened.attributes.get("unix", "0") or 0)
        if opened.attributes.get("format"):
            entity["date_time_format"] = opened.attributes["format"]
    elif opened.name == "blockquote" and "expandable" in opened.attributes:
        entity["type"] = "expandable_blockquote"
    elif opened.name == "code" and language.startswith("language-"):
        entity["language"] = language.removeprefix("language-")
    elif opened.name == "pre":
        inner = next((each for each in entities if each["type"] == "code" and _same_span(each, entity)), None)
        if inner is not None:
            entities.remove(inner)
            if "language" in inner:
                entity["language"] = inner["language"]
    entities.append(entity)


def _same_span(one: Wire, other: Wire) -> bool:
    return bool(one["offset"] == other["offset"] and one["length"] == other["length"])


_TARGET = re.compile(r"^(?:tg://.+|(?:(?:https?|ton)://)?[^\s/]+\.\S+)$")


def _links_without_target(entities: list[Wire], text: str) -> list[Wire]:
    """`<a>https://example.com</a>` takes its text as target; a target that is no URL makes no link."""
    kept: list[Wire] = []
    for entity in entities:
        if entity["type"] == "code":
            entity.pop("language", None)  # only inside <pre>
        if entity["type"] == "text_link":
            url = entity["url"] or cut_utf16(text, entity["offset"], entity["length"])
            if not _TARGET.match(url):
                continue
            entity["url"] = url if "://" in url else f"http://{url}"
        kept.append(entity)
    return kept


# --- MarkdownV2 -----------------------------------------------------------------------------------------------------

_RESERVED_V2 = "_*[]()~`>#+-=|{}.!"
_V2_MARKS = {
    "bold": "*",
    "italic": "_",
    "underline": "__",
    "strikethrough": "~",
    "spoiler": "||",
    "code": "`",
    "pre": "```",
    "text_link": "]",
    "custom_emoji": "]",
}
_V2_NAMES = {
    "bold": "Bold",
    "italic": "Italic",
    "underline": "Underline",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "code": "Code",
    "pre": "Pre",
    "text_link": "TextUrl",
    "custom_emoji": "CustomEmoji",
    "blockquote": "BlockQuote",
}


def parse_markdown_v2(text: str) -> Formatted:
    """MarkdownV2: marks nest, every other reserved character must be escaped."""
    return _MarkdownV2(text).parse()


class _MarkdownV2:
    """One reading of a text: `at` moves through the source, `stack` holds the marks that wait for their end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._out: list[str] = []
        self._size = 0
        self._stack: list[_Open] = []
        self._entities: list[Wire] = []

    def parse(self) -> Formatted:
        while self._at < len(self._text):
            self._step()
        if len(self._stack) == 1 and self._stack[0].name == "blockquote":
            self._close()
        if self._stack:
            raise self._without_end()
        self._entities.sort(key=lambda entity: (entity["offset"], -entity["length"]))
        return Formatted("".join(self._out), self._entities)

    def _step(self) -> None:
        """Take one character, mark or escape."""
        text, at = self._text, self._at
        if text[at] == "\\" and _escapable(text, at + 1):
            self._take(text[at + 1], 2)
            return
        top = self._stack[-1].name if self._stack else ""
        in_code = top in ("code", "pre")
        line_start = at == 0 or text[at - 1] == "\n"
        if line_start and self._stack and self._stack[0].name == "blockquote" and not in_code:
            self._continue_quote()
            return
        if text[at] not in ("`" if in_code else _RESERVED_V2):
            self._take(text[at], 1)
        elif self._ends_here(top):
            self._end()
        elif in_code:
            self._take(text[at], 1)
        else:
            name, length, attributes = _v2_start(text, at, line_start)
            self._stack.append(_Open(name, self._size, _bytes_before(text, at), attributes))
            self._at += length

    def _take(self, char: str, length: int) -> None:
        self._out.append(char)
        self._size += 2 if char > "\uffff" else 1
        self._at += length

    def _continue_quote(self) -> None:
        """A quotation goes on with `>` at the start of the next line, or is over."""
        if self._text[self._at] == ">":
            self._at += 1
            return
        if len(self._stack) > 1:
            raise self._without_end()
        self._close()

    def _ends_here(self, top: str) -> bool:
        mark = _V2_MARKS.get(top, "")
        if top == "italic" and self._text.startswith("__", self._at):
            return False
        return bool(mark) and self._text.startswith(mark, self._at)

    def _end(self) -> None:
        opened = self._stack[-1]
        self._at += len(_V2_MARKS[opened.name])
        if opened.name not in ("text_link", "custom_emoji"):
            self._close(**opened.attributes)
            return
        shown = cut_utf16("".join(self._out), opened.start, self._size - opened.start)
        target, self._at = _v2_target(self._text, self._at, shown)
        if opened.name == "custom_emoji":
            self._close(custom_emoji_id=target.partition("id=")[2])
        elif _is_url(target):
            self._close(url=target if "://" in target else f"http://{target}")
        else:
            self._stack.pop()

    def _close(self, **details: Any) -> None:
        opened = self._stack.pop()
        if self._size > opened.start:
            span = {"offset": opened.start, "length": self._size - opened.start}
            self._entities.append({**span, "type": opened.name, **details})

    def _without_end(self) -> Exception:
        opened = self._stack[-1]
        return _cannot(f"Can't find end of {_V2_NAMES[opened.name]} entity at byte offset {opened.at}")


def _escapable(text: str, at: int) -> bool:
    return at < len(text) and 0 < ord(text[at]) <= 126


def _is_url(target: str) -> bool:
    return bool(re.match(r"^(?:(?:https?|tg|ton)://)?[^\s/]+\.?[^\s]*$", target)) and (
        "." in target or "://" in target
    )


def _v2_start(text: str, i: int, at_line_start: bool) -> tuple[str, int, dict[str, str]]:
    """Which entity begins here, how many characters its mark takes, and its attributes."""
    char = text[i]
    if char == "_":
        return ("underline", 2, {}) if text.startswith("__", i) else ("italic", 1, {})
    if char == "|" and text.startswith("||", i):
        return "spoiler", 2, {}
    if char == "!" and text.startswith("![", i):
        return "custom_emoji", 2, {}
    if char == ">" and at_line_start:
        return "blockquote", 1, {}
    if char == "`" and text.startswith("```", i):
        end = i + 3
        while end < len(text) and text[end] not in _SPACES and text[end] != "`":
            end += 1
        if end > i + 3 and end < len(text) and text[end] in "\r\n":
            return "pre", end + 1 - i, {"language": text[i + 3 : end]}
        return "pre", 4 if text[i + 3 : i + 4] == "\n" else 3, {}
    simple = {"*": "bold", "~": "strikethrough", "`": "code", "[": "text_link"}.get(char)
    if simple is None:
        raise _cannot(f"Character '{char}' is reserved and must be escaped with the preceding '\\'")
    return simple, 1, {}


def _v2_target(text: str, i: int, fallback: str) -> tuple[str, int]:
    if not text.startswith("(", i):
        return fallback, i
    at = _bytes_before(text, i)
    i += 1
    url: list[str] = []
    while i < len(text) and text[i] != ")":
        if text[i] == "\\" and _escapable(text, i + 1):
            i += 1
        url.append(text[i])
        i += 1
    if i >= len(text):
        raise _cannot(f"Can't find end of a URL at byte offset {at}")
    return "".join(url) or fallback, i + 1


# --- legacy Markdown ------------------------------------------------------------------------------------------------


def parse_markdown(text: str) -> Formatted:
    """The first Markdown mode: nothing nests."""
    out: list[str] = []
    entities: list[Wire] = []
    size = 0
    i = 0
    while i < len(text):
        char = text[i]
        if char == "\\" and text[i + 1 : i + 2] in ("_", "*", "`", "["):
            out.append(text[i + 1])
            size += 1
            i += 2
            continue
        if char not in "_*`[":
            out.append(char)
            size += 2 if char > "\uffff" else 1
            i += 1
            continue
        at = _bytes_before(text, i)
        mark = "```" if text.startswith("```", i) else "]" if char == "[" else char
        begin = i + (3 if mark == "```" else 1)
        end = text.find(mark, begin)
        if end < 0:
            raise _cannot(f"Can't find end of the entity starting at byte offset {at}")
        inner = text[begin:end]
        i = end + len(mark)
        entity: Wire = {"offset": size, "length": utf16(inner)}
        if char == "[":
            target = ""
            if text.startswith("(", i):
                stop = text.find(")", i)
                target = text[i + 1 : stop if stop >= 0 else len(text)]
                i = stop + 1 if stop >= 0 else len(text)
            entity |= {"type": "text_link", "url": target}
            keep = bool(target) and _is_url(target)
        else:
            entity["type"] = {"_": "italic", "*": "bold", "`": "code", "```": "pre"}[mark]
            keep = True
        if inner and keep:
            entities.append(entity)
        out.append(inner)
        size += utf16(inner)
    return Formatted("".join(out), entities)
