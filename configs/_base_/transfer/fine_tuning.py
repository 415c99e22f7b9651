# Fine-tuning: the new head learns first, on features as they are; after a
# quarter of the run all stages of the backbone learn along, the earliest at a
# tenth of the head's rate. Takes the place of a schedule.
# Say where the weights come from: load_from, or init_cfg of the backbone.
_base_ = '../schedules/adamw_2k.py'

optim_wrapper = dict(constructor='geo_mm.StageRateConstructor', paramwise_cfg=dict(first=0.1))
custom_hooks = [
    # Iterations, or a share of the run below 1; last=2 for the last two stages only.
    dict(type='geo_mm.TransferHook', unfreeze=[dict(begin=0.25, last=None)])
]
find_unused_parameters = True  # when several processes train: what is frozen has no gradient
