# SGD with a polynomial: the learning rate is lr * (1 - iteration / max_iters) ** 0.9,
# the usual one for PSPNet and other networks for pixels.
_base_ = './sgd_2k.py'
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0, by_epoch=False)]
