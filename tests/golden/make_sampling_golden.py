#!/usr/bin/env python3
"""Writes sampling.safetensors: pooling, resampling, rectifiers, batch normalisation and embedding by PyTorch, in the
format that make_golden.py describes.

    /usr/bin/python3 tests/golden/make_sampling_golden.py

`batch_norm_*` cases also hold `<case>/after.<name>`, the running statistics after the pass.
"""
import torch
from torch.nn import functional

from make_golden import HERE, Cases, single, write_safetensors


def pooling(cases):
    for index, (h, w, kernel, stride, padding, ceil) in enumerate([(6, 7, 2, 2, 0, 0), (8, 7, 3, 2, 0, 1),
                                                                   (7, 6, 3, 2, 1, 0), (5, 9, 2, 3, 0, 0)]):
        config = dict(kernel=kernel, stride=stride, padding=padding, ceil=ceil, adaptive=0)
        x = cases.normal(2, 3, h, w)
        cases.add("max_pool_%d" % index, config, None,
                  lambda x: functional.max_pool2d(x, kernel, stride, padding, ceil_mode=bool(ceil)), x=x)
        if padding == 0:
            cases.add("avg_pool_%d" % index, config, None,
                      lambda x: functional.avg_pool2d(x, kernel, stride, ceil_mode=bool(ceil)), x=x)
    for index, (h, w, oh, ow) in enumerate([(7, 8, 3, 3), (5, 6, 1, 4), (3, 2, 5, 7)]):
        config = dict(adaptive=1, h=oh, w=ow)
        x = cases.normal(2, 3, h, w)
        cases.add("avg_pool_adaptive_%d" % index, config, None, lambda x: functional.adaptive_avg_pool2d(x, (oh, ow)), x=x)
        cases.add("max_pool_adaptive_%d" % index, config, None, lambda x: functional.adaptive_max_pool2d(x, (oh, ow)), x=x)


def resampling(cases):
    for index, (h, w, oh, ow) in enumerate([(3, 4, 6, 8), (5, 3, 7, 11), (6, 7, 4, 1), (1, 2, 5, 5)]):
        for mode, (name, corners) in enumerate([("nearest", None), ("bilinear", False), ("bilinear", True)]):
            cases.add("resample_%d_%d" % (mode, index), dict(mode=mode, h=oh, w=ow), None,
                      lambda x: functional.interpolate(x, (oh, ow), mode=name, align_corners=corners),
                      x=cases.normal(2, 3, h, w))


def batch_norms(cases):
    for index, (training, shape) in enumerate([(1, (3, 5, 4, 3)), (0, (2, 5, 3, 3)), (1, (2, 1, 5, 7))]):
        layer = torch.nn.BatchNorm2d(shape[1]).double()
        layer.train(bool(training))
        with torch.no_grad():
            layer.weight.copy_(single(1 + 0.4 * cases.normal(shape[1])))
            layer.bias.copy_(0.4 * cases.normal(shape[1]))
            layer.bias.copy_(single(layer.bias))
            layer.running_mean.copy_(cases.normal(shape[1]))
            layer.running_var.copy_(single(cases.normal(shape[1]) ** 2 + 0.5))
            layer.num_batches_tracked.fill_(7)
        before = {key: value.clone() for key, value in layer.state_dict().items()}
        name = "batch_norm_%d" % index
        cases.add(name, dict(training=training, channels=shape[1]), layer, lambda x: layer(x),
                  x=single(cases.normal(*shape) * 2 + 0.7))
        for key, value in before.items():
            after = layer.state_dict()[key].to(torch.float64)
            cases.tensors["%s/param.%s" % (name, key)] = value.to(torch.float32)
            if "running" in key or "tracked" in key:
                cases.tensors["%s/after.%s" % (name, key)] = after


def main():
    cases = Cases(11)
    pooling(cases)
    resampling(cases)
    batch_norms(cases)
    x = cases.normal(2, 5, 3, 4)
    cases.add("relu_0", {}, None, lambda x: functional.relu(x), x=x)
    cases.add("leaky_relu_0", {}, None, lambda x: functional.leaky_relu(x, 0.01), x=x)
    embedding = cases.randomise(torch.nn.Embedding(5, 6))
    numbers = [3, 0, 3, 4]
    cases.add("embedding_0", dict([("number%d" % i, n) for i, n in enumerate(numbers)], count=5, width=6), embedding,
              lambda: embedding(torch.tensor(numbers).reshape(2, 2)))
    write_safetensors(HERE / "sampling.safetensors", cases.tensors, cases.metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
