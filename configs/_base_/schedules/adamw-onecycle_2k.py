# One cycle (Smith and Topin 2017, arXiv:1708.07120): the learning rate rises
# from a 25th to optimizer.lr in the first 30 % of the run and falls to almost 0.
# It bears a higher rate than other schedules and suits short runs.
_base_ = './adamw_2k.py'
param_scheduler = [dict(type='geo_mm.OneCycleLR', pct_start=0.3, by_epoch=False)]
