"""Options: fields of dataclasses that are arguments of the command line, too."""

import argparse
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields
from typing import Any, Literal, TypeVar

from geo_mm.errors import ConfigError

Chosen = TypeVar('Chosen')


def option(default: Any, help: str, **more: Any) -> Any:
    """A field of a dataclass, and what :func:`add_options` needs for it.

    Args:
        default: The field's default.
        help: The text of the option, which is also the documentation of the field.
        **more: ``flag``, the option, if it is not called as the field; ``group``, title
            of the group it stands in; ``metavar``, what stands for the value; ``const``,
            the value of the option without one.
    """
    return field(default=default, metadata={'help': help, **more})


def add_options(parser: argparse.ArgumentParser, options: type) -> None:
    """Add an option for each field of a dataclass that has a help text.

    The field's type gives the option's: ``bool`` a switch, called ``--no-...`` if
    it is on by default, ``Literal`` choices, a sequence several values, a mapping several
    ``KEY=VALUE``. Options that are not given leave no trace in the parsed arguments: see
    :func:`given`.
    """
    groups: dict[str, argparse._ActionsContainer] = {}
    hints = typing.get_type_hints(options)
    for each in fields(options):
        meta = each.metadata
        if 'help' not in meta:
            continue
        title = meta.get('group')
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        flag = meta.get('flag', f'--{each.name.replace("_", "-")}')
        kwargs: dict[str, Any] = _argument(hints[each.name])
        if each.default is True:
            flag, kwargs = f'--no-{flag[2:]}', {'action': 'store_false'}
        if 'const' in meta:
            kwargs |= {'nargs': '?', 'const': meta['const']}
        if 'metavar' in meta:
            kwargs['metavar'] = meta['metavar']
        (groups[title] if title else parser).add_argument(
            flag,
            dest=each.name,
            default=argparse.SUPPRESS,
            help=('do not ' if each.default is True else '')
            + meta['help']
            + _default(each, kwargs),
            **kwargs,
        )


def given(args: argparse.Namespace, options: type) -> dict[str, Any]:
    """Fields of the dataclass that the user gave a value for."""
    return {f.name: getattr(args, f.name) for f in fields(options) if hasattr(args, f.name)}


def made(options: Callable[..., Chosen], values: Mapping[str, Any]) -> Chosen:
    """The options of keyword arguments that a function passes on.

    Raises:
        ConfigError: If there is no such option.
    """
    names = list(inspect.signature(options).parameters)
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name.replace('_', ''), names, 1)
            raise ConfigError(
                f'the argument {name}',
                f'one of {", ".join(names)}',
                f'did you mean {close[0]}?' if close else '',
            )
    return options(**values)


class KeyValues(argparse.Action):
    """``KEY=VALUE ...`` as a dict; the last ``=`` parts them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        wrong = [text for text in values if '=' not in text]
        if wrong:
            raise ConfigError(f'{option} {" ".join(wrong)}', str(self.metavar))
        setattr(namespace, self.dest, dict(text.rsplit('=', 1) for text in values))


def _argument(hint: Any) -> dict[str, Any]:
    """Arguments of argparse for a type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
    if hint is bool:
        return {'action': 'store_true'}
    if typing.get_origin(hint) is Literal:
        return {'choices': typing.get_args(hint)}
    if typing.get_origin(hint) is Mapping:
        return {'nargs': '+', 'action': KeyValues, 'metavar': 'KEY=VALUE'}
    if typing.get_origin(hint) in (tuple, Sequence):
        (item, *_) = typing.get_args(hint)
        return {'nargs': '+', **_argument(item)}
    return {'type': hint}


def _default(each: Field, kwargs: dict) -> str:
    default = each.default
    if (
        default in (MISSING, None, False, True)
        or default == ()
        or 'default' in each.metadata['help']
    ):
        return ''
    text = ' '.join(map(str, default)) if kwargs.get('nargs') == '+' else default
    return f' (default: {text})'
