"""The config inside a model file: read as data, and what it may ask for.

MMEngine calls whatever a config names: ``type='subprocess.Popen'`` is imported
and built like a layer, and so are the operators of suppression, which mmcv
evaluates as Python. Its text is a Python program, and what MMEngine writes
(``Config.pretty_text``) is only assignments of plain data, so :func:`parse`
reads it without running it. Read as data, it is still a program: one that
comes inside a model file may therefore name only parts that are registered,
and no files. Of the config only the model and the test pipeline are built, so
these are checked; nothing is imported on its behalf.

The file itself and its weights are checked in :mod:`geo_mm.models.checkpoints`.
"""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    FUNCTIONS,
    METRICS,
    MODELS,
    TASK_UTILS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
    Registry,
)
from mmengine.utils import import_modules_from_strings

from geo_mm.errors import ConfigError, GeoMMError

_LIBRARIES = ('mmengine', 'mmdet', 'mmseg', 'mmpretrain', 'geo_mm')
_MODEL_PARTS = (MODELS, TASK_UTILS, WEIGHT_INITIALIZERS)

# Types that the libraries look up elsewhere than in a registry: operators of
# mmcv, and branches of FPG and Cascade RPN.
_UNREGISTERED = frozenset(
    [
        'nms',
        'soft_nms',
        'nms_match',
        'nms_rotated',
        'nms_quadri',
        'RoIAlign',
        'RoIAlignRotated',
        'RoIPool',
        'SimpleRoIAlign',
        'DeformRoIPoolPack',
        'ModulatedDeformRoIPoolPack',
        'conv',
        'interpolation_conv',
        'last_conv',
        'dilation',
        'offset',
    ]
)
# Registered, but these evaluate their arguments, look them up in further
# libraries, or download what they are told by name.
_REFUSED = frozenset(
    [
        'Albu',
        'GenerateLine',
        'CameraMotionCompensation',
        'BertModel',
        'GLIP',
        'GroundingDINO',
        'ATSSVLFusionHead',
        'TIMMBackbone',
        'VPD',
        'CLIPTextEncoder',
        'RandomSamplingNegPos',
        'LoadTextAnnotations',
    ]
)
_REFUSED_MODULES = ('huggingface', 'transformers', 'timm')
_TESTED = ('default_scope', 'model', 'test_dataloader', 'test_evaluator', 'env_cfg', 'randomness')
_DATASETS = frozenset(('geo_mm.GeoDetDataset', 'geo_mm.GeoSegDataset'))
_WRAPPERS = frozenset(('ConcatDataset', 'RepeatDataset'))
# Weights are loaded over these.
_STARTS = frozenset(('init_cfg', 'pretrained'))
_UNSAFE_IN_KEYS = re.compile(r"['\\\x00-\x1f\x7f]")
# No paths, addresses or expressions; a dot only in numbers, as in regnetx_3.2gf.
_WORDS = re.compile(r'(?:[\w +,-]|(?<=\d)\.(?=\d))*')
# Networks of timm, which have to be in its list: resnet50.a1_in1k.
_TIMM, _TAGGED = 'geo_mm.TimmBackbone', re.compile(r'\w+\.\w+')
_FORMATS = frozenset(('pkl', 'pickle', 'npy', 'npz', 'json', 'yml', 'yaml', 'py', 'pth', 'pt'))


def config_of(data: Mapping, checkpoint: str | os.PathLike, trust: bool = False) -> Config:
    """The config with which MMEngine wrote a checkpoint.

    Its text is read as data and not run (:func:`parse`),
    and it may name only what is registered (:func:`check`).

    Args:
        data: What :func:`read_checkpoint` gave.
        checkpoint: Its file, for messages.
        trust: Lets the config name anything to import and to call, modules of
            ``custom_imports`` included, so that the file can run any program.

    Raises:
        ConfigError: If there is none in it, it is not plain data, names what
            is not registered, or needs modules that are not there.
    """
    config = unchecked_config_of(data, checkpoint)
    if not trust:
        try:
            check(config, checkpoint)
        except (ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
            raise _not_plain(checkpoint, error) from error
    elif 'custom_imports' in config:
        _import(config, checkpoint)
    return config


def unchecked_config_of(data: Mapping, checkpoint: str | os.PathLike) -> Config:
    """The same, to be read and not to be built: it may name anything.

    Raises:
        ConfigError: If there is none in it, or it is not plain data.
    """
    meta = data.get('meta')
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        raise ConfigError(
            f'{checkpoint} does not hold the config that it was trained with',
            'a checkpoint written by geo-mm train',
            'give the config, too: geo-mm predict CONFIG CHECKPOINT ...',
        )
    try:
        return Config(parse(text))
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise _not_plain(checkpoint, error) from error


def _not_plain(checkpoint: str | os.PathLike, error: Exception) -> ConfigError:
    return ConfigError(
        f'{checkpoint}: the config in it is not plain data: {error}',
        'names, numbers, texts, lists and dicts',
        'give the config, too: geo-mm predict CONFIG CHECKPOINT ...',
    )


def _import(config: Config, checkpoint: str | os.PathLike) -> None:
    try:
        import_modules_from_strings(**config.custom_imports)
    except ImportError as error:
        raise ConfigError(
            f'{checkpoint}: its config needs a module that is not here: {error}',
            f'custom_imports={list(config.custom_imports.imports)} to be importable',
            'install it, or set PYTHONPATH to where it is',
        ) from error


def parse(text: str) -> dict:
    """The values of a config, by name, from its text, which is not run.

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


def _value(node: ast.expr) -> Any:
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
            return {_key(k): _value(v) for k, v in zip(keys, values, strict=True) if k}
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


def _key(node: ast.expr) -> Any:
    """A key of a dict. MMEngine writes it back between quotes, and does not escape any in it:
    what follows one would be code in the copies of the config."""
    value = _value(node)
    if isinstance(value, str) and _UNSAFE_IN_KEYS.search(value):
        raise ValueError(f'line {node.lineno}: the key {value[:60]!r} is no plain data')
    return value


def check(config: Config, checkpoint: str | os.PathLike) -> None:
    """Checks what is built of a config for predicting: model and test pipeline.

    Settings that only say what weights to start from are taken out.

    Args:
        config: Plain data.
        checkpoint: The file that it was in, for messages.

    Raises:
        ConfigError: If it names what is not registered, a module to import, or
            a file or an address.
    """
    _refuse(next(_bad_parts(config), None), checkpoint)


def _refuse(bad: str | None, checkpoint: str | os.PathLike) -> None:
    if bad is not None:
        raise ConfigError(
            f'{checkpoint}: the config in it could run a program: {bad}',
            'only what is registered in geo_mm and the mm libraries, and no names of files',
            'if you trust the author of the file, add --trust-checkpoint (trust_checkpoint=True '
            'in Python), or give the config as a file of your own',
        )


def for_testing(config: Config, checkpoint: str | os.PathLike) -> Config:
    """What of a checked config a test run needs; hooks, writers and loops are MMEngine's own.

    Args:
        config: One that :func:`check` has let pass.
        checkpoint: The file that it was in, for messages.

    Raises:
        ConfigError: If the data set is not one of this package, or the sampler
            or a metric is not registered or names a file.
    """
    used = Config({key: config[key] for key in _TESTED if key in config})
    used.test_cfg = {}
    _refuse(next(_bad_test(used), None), checkpoint)
    return used


@contextlib.contextmanager
def built_from_embedded(checkpoint: str | os.PathLike) -> Iterator[None]:
    """Surrounds the building of what :func:`check` has let pass.

    What is not registered is not imported, either: some layers take a type
    from an argument of another name, such as ``conv_type``.

    Raises:
        ConfigError: If what is there cannot be built.
    """
    module: Any = importlib.import_module('mmengine.registry.registry')
    imported = module.get_object_from_string
    module.get_object_from_string = lambda name: None
    try:
        yield
    except GeoMMError:
        raise
    except Exception as error:  # layers raise anything when given nonsense
        raise ConfigError(
            f'{checkpoint}: the model in it cannot be built: {type(error).__name__}: {error}',
            'the config that it was trained with',
            'give the config, too: geo-mm predict CONFIG CHECKPOINT ...',
        ) from error
    finally:
        module.get_object_from_string = imported


def _bad_parts(config: Config) -> Iterator[str]:
    scope = config.get('default_scope') or 'mmengine'
    if not _is_scope(scope):
        yield f'default_scope is {scope!r}'
        return
    yield from _bad_values(config.get('model'), 'model', scope, _MODEL_PARTS)
    for steps in _pipelines(config.get('test_dataloader')):
        yield from _bad_values(steps, 'pipeline', scope, (TRANSFORMS,))
    # Last, since a known library may have been imported by now.
    yield from _bad_imports(config.get('custom_imports'))


def _bad_test(config: Config) -> Iterator[str]:
    """Says what must not stand in the parts that only a test run builds."""
    scope, loader = config.get('default_scope') or 'mmengine', config.get('test_dataloader') or {}
    yield from _bad_values(config.get('env_cfg'), 'env_cfg', scope, ())
    yield from _bad_values(config.get('test_evaluator'), 'test_evaluator', scope, (METRICS,))
    for key, value in loader.items():
        if key == 'dataset':
            yield from _bad_datasets(value)
        else:
            parts = (DATA_SAMPLERS,) if 'sampler' in key else (FUNCTIONS,)
            yield from _bad_values(value, f'test_dataloader.{key}', scope, parts)


def _bad_datasets(value: Any) -> Iterator[str]:
    """Other data sets read whatever file they are told, pickles among them."""
    for item in value if isinstance(value, list | tuple) else [value]:
        kind = item.get('type') if isinstance(item, Mapping) else None
        if kind in _WRAPPERS:
            yield from _bad_datasets(item.get('dataset') or item.get('datasets'))
        elif not (isinstance(kind, str) and kind in _DATASETS) or '_scope_' in item:
            yield f'test_dataloader.dataset.type is {kind!r}'


def _bad_imports(custom_imports: object) -> Iterator[str]:
    if custom_imports is None:
        return
    imports = custom_imports.get('imports') if isinstance(custom_imports, Mapping) else None
    for module in [imports] if isinstance(imports, str) else imports or ():
        # What this process has imported anyway does nothing more.
        if module not in sys.modules:
            yield f'custom_imports names the module {module!r}'


def _pipelines(loader: object) -> Iterator[object]:
    """Every pipeline in a data loader, however deep in wrappers of data sets."""
    if isinstance(loader, Mapping):
        for key, value in loader.items():
            if key == 'pipeline':
                yield value
            else:
                yield from _pipelines(value)
    elif isinstance(loader, list | tuple):
        for value in loader:
            yield from _pipelines(value)


def _bad_values(
    value: object, where: str, scope: str, parts: tuple[Registry, ...]
) -> Iterator[str]:
    """Says what must not stand in a part of a config, and drops weights to start from."""
    if isinstance(value, Mapping):
        for key in value.keys() & _STARTS:
            cast(dict, value)[key] = None  # every mapping in a config is one
        scope = value.get('_scope_', scope)
        if not _is_scope(scope):
            yield f'{where}._scope_ is {scope!r}'
            return
        for key, item in value.items():
            if key == 'type' and isinstance(item, str):
                if not _is_known(item, scope, parts):
                    yield f'{where}.type is {item!r}'
            elif key == 'name' and value.get('type') == _TIMM and _is_tagged(item):
                continue
            elif key != '_scope_':
                yield from _bad_values(item, f'{where}.{key}', scope, parts)
    elif isinstance(value, list | tuple | set | frozenset):
        for number, item in enumerate(value):
            yield from _bad_values(item, f'{where}[{number}]', scope, parts)
    elif isinstance(value, str | bytes) and not _is_word(value):
        yield f'{where} is {value!r}'


def _is_word(value: str | bytes) -> bool:
    return isinstance(value, str) and bool(_WORDS.fullmatch(value)) and value not in _FORMATS


def _is_tagged(name: object) -> bool:
    return isinstance(name, str) and bool(_TAGGED.fullmatch(name))


def _is_scope(scope: object) -> bool:
    """Whether this is a library whose registries may be imported, or are already."""
    return isinstance(scope, str) and (scope in _LIBRARIES or scope in MODELS.children)


def _is_known(name: str, scope: str, parts: tuple[Registry, ...]) -> bool:
    """Whether MMEngine finds this in a registry, before it looks for a module."""
    if name in _UNREGISTERED:
        return MODELS in parts
    prefix, dot, rest = name.partition('.')
    if dot:
        scope, name = prefix, rest
    if not _is_scope(scope) or name in _REFUSED:
        return False
    found = [_registered(part, scope).get(name) or part.module_dict.get(name) for part in parts]
    modules = [getattr(item, '__module__', '') for item in found if item is not None]
    return bool(modules) and not any(
        part in _REFUSED_MODULES for module in modules for part in module.split('.')
    )


def _registered(part: Registry, scope: str) -> Mapping:
    """What a library has registered; its modules are imported if need be."""
    if scope in _LIBRARIES:
        _import_library(scope)
    part.import_from_location()
    node = part if scope == part.scope else part.children.get(scope)
    if node is None:
        return {}
    node.import_from_location()
    return node.module_dict


@cache
def _import_library(name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        importlib.import_module(f'{name}.registry')
