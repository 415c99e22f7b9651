# From scratch: everything learns from the start, at one rate, and batch norm
# gathers statistics of its own. What to compare the other two with. Takes the
# place of a schedule.
_base_ = '../schedules/adamw_2k.py'

custom_hooks = [dict(type='geo_mm.TransferHook', unfreeze=[dict(begin=0)], norm_eval=False)]
