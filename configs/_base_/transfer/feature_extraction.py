# Feature extraction: the backbone stays as it was learnt elsewhere, batch norm
# included, and only neck, decoder and head learn. For few labels, or to see how
# far the features carry. Takes the place of a schedule.
# Say where the weights come from: load_from, or init_cfg of the backbone.
_base_ = '../schedules/adamw_2k.py'

custom_hooks = [dict(type='geo_mm.TransferHook')]
find_unused_parameters = True  # when several processes train: what is frozen has no gradient
