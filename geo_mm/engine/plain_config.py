"""Reads the text of a config as data, without running it.

A config is a Python program, and MMEngine keeps its text in every checkpoint.
Running that would let a checkpoint from a stranger do anything. What MMEngine
writes there (``Config.pretty_text``) is only assignments of plain data:
constants, lists, tuples and ``dict(...)``.
"""

import ast


def parse(text: str) -> dict:
    """The values of a config, by name.

    Raises:
        SyntaxError: If the text is no Python.
        ValueError: If there is anything in it but assignments of plain data.
    """
    values = {}
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = _value(value)
            case _:
                raise ValueError(f'line {statement.lineno}: no assignment')
    return values


def _value(node: ast.expr) -> object:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Set(elts=items):
            return {_value(item) for item in items}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_value(k): _value(v) for k, v in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=items) if all(
            item.arg for item in items
        ):
            return {item.arg: _value(item.value) for item in items}
        # For keys that are no names.
        case ast.Call(func=ast.Name(id='dict'), args=[ast.Dict() as inner], keywords=[]):
            return _value(inner)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        # What repr() gives for the floats that have no literal.
        case ast.Name(id='inf' | 'nan' as name):
            return float(name)
    raise ValueError(f'line {node.lineno}: {ast.unparse(node)[:60]!r} is no plain data')
