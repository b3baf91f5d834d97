"""The sentences of a prototxt's errors: what was found, what is wanted, what was perhaps meant."""

from __future__ import annotations

import difflib

from sdcaffe.errors import nearest
from sdcaffe.proto import elsewhere, tokens
from sdcaffe.proto.tables import BOOL, ENUM, FLOAT, INTEGER, MESSAGE, STRING, Field, Table, table


def shown(kind: int, word: str) -> str:
    """A token in a sentence, cut short where it is long."""
    if kind == tokens.END:
        return "the end of the file"
    if len(word) > 40:
        word = word[:37] + "..."
    return f"the string {word}" if kind == tokens.STRING else f'"{word}"'


def _typo(word: str, near: str) -> bool:
    """Whether `near` differs from `word` as a slip of the pen does, rather than as another word."""
    return difflib.SequenceMatcher(None, word.lower(), near.lower()).ratio() >= 0.85 and abs(len(word) - len(near)) < 3


def unknown_field(fields: Table, name: str) -> str:
    start = f'message "{fields.message}" has no field "{name}".'
    plugin = "; docs/own-layer.md shows how a plugin adds it"
    fork, instead = elsewhere.of_field(fields.message, name), elsewhere.instead_of(fields.message, name)
    if fork is not None or instead is not None:
        whose = f", but {fork} has it" if fork is not None else ""
        hint = f" {instead[0].upper()}{instead[1:]}." if instead is not None else ""
        return f"{start[:-1]}: it is not one of BVLC Caffe's{whose}.{hint} --ignore-unknown reads on without it{plugin}"
    near = nearest(name, fields.fields)
    if near is not None and _typo(name, near):
        return f'{start} Did you mean "{near}"?'
    inside = [
        field.name
        for field in fields.fields.values()
        if field.kind == MESSAGE and name in table(field.message_type).fields
    ]
    if inside:
        listed = f'"{inside[0]}"' if len(inside) == 1 else f'"{inside[0]}" and {len(inside) - 1} others'
        return f"{start} It is a field of {listed}: write {inside[0]} {{ {name}: ... }}"
    guess = f' Did you mean "{near}"?' if near is not None else ""
    return (
        f"{start[:-1]}: it is not one of BVLC Caffe's.{guess} If another Caffe has it, --ignore-unknown "
        f"reads on without it{plugin}"
    )


def wanted(field: Field) -> str:
    """What a value of the field looks like: `a whole number from 0 to 4294967295`."""
    if field.kind == INTEGER:
        return f"a whole number from {field.low} to {field.high}"
    if field.kind == FLOAT:
        return "a decimal number"
    if field.kind == BOOL:
        return "true or false"
    if field.kind == ENUM:
        names = list(field.values)
        if len(names) > 6:
            return f"a name like {names[0]} or {names[1]}"
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return "a string in quotes"


def mismatch(field: Field, kinds: list[int], words: list[str]) -> str:
    """The sentence for a value of the wrong type; `kinds` and `words` are its tokens, the first two at most."""
    if words[0] == "-" and kinds[0] == tokens.SIGN and len(words) > 1 and kinds[1] != tokens.END:
        found = f'"-{words[1]}"'
    else:
        found = shown(kinds[0], words[0])
    result = f'field "{field.name}" takes {wanted(field)}, not {found}'
    if kinds[0] == tokens.SIGN and words[0] == "[":
        return f'field "{field.name}" does not repeat: give one value, not a list'
    if field.kind == ENUM and kinds[0] in (tokens.NAME, tokens.STRING):
        word = words[0].strip("\"'")
        near, fork = nearest(word, field.values), elsewhere.of_value(word)
        if word in field.values:
            return f"{result}. Write {word} without quotes"
        if fork is not None:
            result += f", which is not BVLC Caffe's; {fork} has it."
        elif near is not None:
            result += f'. Did you mean "{near}"?'
        if field.name == "type":
            result += (
                ' A layer whose type is a string is written "layer { ... }"; docs/own-layer.md shows how to add one'
            )
    if field.kind == STRING and kinds[0] == tokens.NAME:
        result += f': write "{words[0]}"'
    return result
