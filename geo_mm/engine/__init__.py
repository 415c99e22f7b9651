"""Registered hooks, and the way from a config file to a Runner."""

from geo_mm.engine.channels_last_hook import ChannelsLastHook
from geo_mm.engine.input_spec_hook import InputSpecHook, input_spec_of

__all__ = ['ChannelsLastHook', 'InputSpecHook', 'input_spec_of']
