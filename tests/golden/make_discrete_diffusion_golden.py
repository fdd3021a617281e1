#!/usr/bin/env python3
"""Writes discrete_diffusion.safetensors: beta schedules, trajectories and bounds of the discrete chain, in double.

    /usr/bin/python3 tests/golden/make_discrete_diffusion_golden.py

Trajectories run with eps(x, t) = 0.7 tanh(x) + 0.1 cos(t / 150); x0 is clamped to [-1, 1] and eps is kept. The bound's
terms are in bits per dimension, `bound_full.*` with the tanh approximation of the normal distribution function and a
floor of 1e-12 under probabilities, `bound_strided.*` with the error function, v-prediction and a learned range of variances.
"""
import math

import torch

from make_golden import HERE, write_safetensors

F64 = torch.float64


def beta_schedule(name, steps, first=1e-4, last=0.02):
    even = torch.linspace(0, 1, steps, dtype=F64)
    if name == "linear":
        return first + (last - first) * even
    if name == "quad":
        return (first ** 0.5 + (last ** 0.5 - first ** 0.5) * even) ** 2
    if name == "const":
        return torch.full((steps,), last, dtype=F64)
    if name == "jsd":
        return 1 / torch.arange(steps, 0, -1, dtype=F64)
    if name == "sigmoid":
        return torch.sigmoid(12 * even - 6) * (last - first) + first
    levels = torch.cos((torch.arange(steps + 1, dtype=F64) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    return torch.clamp(1 - levels[1:] / levels[:-1], max=0.999)


def eps_model(x, t):
    return 0.7 * torch.tanh(x) + 0.1 * math.cos(t / 150)


def trajectory(kind, timesteps, x, noise, alpha_bars, eta):
    states, predicted = [x], []
    before = [-1] + timesteps[:-1]
    level = lambda t: alpha_bars[t] if t >= 0 else torch.tensor(1.0, dtype=F64)
    for step, (t, s) in enumerate(zip(reversed(timesteps), reversed(before))):
        now, then, eps = level(t), level(s), eps_model(x, t)
        x0 = ((x - (1 - now).sqrt() * eps) / now.sqrt()).clamp(-1, 1)
        beta = 1 - now / then
        if kind == "ddim":
            deviation = eta * (beta * (1 - then) / (1 - now)).sqrt()
            x = then.sqrt() * x0 + (1 - then - deviation ** 2).clamp(min=0).sqrt() * eps + deviation * noise[step]
        else:
            x = (then.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - then) * x) / (1 - now)
            if s >= 0:
                x = x + beta.sqrt() * noise[step]
        states.append(x)
        predicted.append(x0)
    return torch.stack(states), torch.stack(predicted)


def tanh_cdf(z):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z ** 3)))


def exact_cdf(z):
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def decoder_nll(x0, mean, log_variance, cdf, floor):
    scale = torch.exp(-0.5 * log_variance)
    above, below = cdf((x0 - mean + 1 / 255) * scale), cdf((x0 - mean - 1 / 255) * scale)
    above = torch.where(x0 > 0.999, torch.ones_like(above), above)
    below = torch.where(x0 < -0.999, torch.zeros_like(below), below)
    return -torch.log((above - below).clamp(min=floor))


def bound(prefix, tensors, alpha_bars, timesteps, t, x0, noise, output, to_x0, log_variance, clip, cdf, floor):
    """`to_x0(x_t, output, alpha_bar)`; `log_variance(sample, step, small, large, all small ones)`."""
    chain = alpha_bars[timesteps]
    before = torch.cat([torch.ones(1, dtype=F64), chain[:-1]])
    betas = 1 - chain / before
    variance = betas * (1 - before) / (1 - chain)
    small = torch.log(torch.cat([variance[1:2], variance[1:]]))
    rows = {key: [] for key in ("x_t", "p_mean", "p_log_variance", "pred_x0", "q_mean", "terms")}
    for n, step in enumerate(t):
        now, then, beta = chain[step], before[step], betas[step]
        x_t = now.sqrt() * x0[n] + (1 - now).sqrt() * noise[n]
        posterior = lambda x: (then.sqrt() * beta * x + (1 - beta).sqrt() * (1 - then) * x_t) / (1 - now)
        predicted = to_x0(x_t, output[n], now)
        if clip:
            predicted = predicted.clamp(-1, 1)
        lv = log_variance(n, step, small[step], torch.log(beta), small) + torch.zeros_like(x_t)
        mean, q_mean = posterior(predicted), posterior(x0[n])
        if step == 0:
            term = decoder_nll(x0[n], mean, lv, cdf, floor)
        else:
            term = 0.5 * (lv - small[step] - 1 + torch.exp(small[step] - lv) + (q_mean - mean) ** 2 * torch.exp(-lv))
        for key, value in zip(rows, (x_t, mean, lv, predicted, q_mean, term.mean() / math.log(2))):
            rows[key].append(value)
    tensors.update({"%s.%s" % (prefix, key): torch.stack(value) for key, value in rows.items()})
    tensors.update({prefix + ".x_0": x0, prefix + ".noise": noise, prefix + ".output": output,
                    prefix + ".t": torch.tensor(t, dtype=F64),
                    prefix + ".timesteps": torch.tensor(timesteps, dtype=F64)})


def main():
    generator = torch.Generator().manual_seed(17)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=F64)
    tensors = {"betas_50." + name: beta_schedule(name, 50) for name in ("linear", "quad", "const", "jsd", "sigmoid", "cosine")}
    alpha_bars = torch.cumprod(1 - beta_schedule("linear", 1000), 0)
    for name, kind, eta, timesteps in (("ddim", "ddim", 0.0, list(range(0, 1000, 100))),
                                       ("ddim_eta", "ddim", 0.6, [0, 3, 50, 200, 480, 777, 999]),
                                       ("ddpm", "ddpm", 0.0, [0, 1, 77, 300, 650, 940, 999])):
        x, noise = normal(2, 3), normal(len(timesteps), 2, 3)
        states, predicted = trajectory(kind, timesteps, x, noise, alpha_bars, eta)
        tensors.update({name + ".timesteps": torch.tensor(timesteps, dtype=F64), name + ".x_T": x,
                        name + ".noise": noise, name + ".trajectory": states, name + ".pred_x0": predicted})
    pictures = lambda n: torch.randint(0, 256, (n, 2, 3), generator=generator).to(F64) / 127.5 - 1
    t = [0, 0, 1, 17, 500, 999]
    x0, noise = pictures(len(t)), normal(len(t), 2, 3)
    x0[0, 0, 0], x0[0, 0, 1] = -1, 1
    bound("bound_full", tensors, alpha_bars, list(range(1000)), t, x0, noise, noise + 0.2 * normal(len(t), 2, 3),
          lambda x_t, eps, a: (x_t - (1 - a).sqrt() * eps) / a.sqrt(),
          lambda n, step, small, large, smalls: smalls[0] if step == 0 else large, False, tanh_cdf, 1e-12)
    t = [0, 1, 2, 3, 4, 0]
    x0, noise, v = pictures(len(t)), normal(len(t), 2, 3), 0.7 * normal(len(t), 2, 3)
    x0[5, 1, 2], x0[5, 0, 1] = -1, 1
    timesteps = [0, 7, 300, 640, 999]
    chain = alpha_bars[timesteps][t].reshape(-1, 1, 1)
    output = chain.sqrt() * noise - (1 - chain).sqrt() * x0 + 0.3 * normal(len(t), 2, 3)
    bound("bound_strided", tensors, alpha_bars, timesteps, t, x0, noise, output,
          lambda x_t, out, a: a.sqrt() * x_t - (1 - a).sqrt() * out,
          lambda n, step, small, large, smalls: (v[n] + 1) / 2 * large + (1 - v[n]) / 2 * small, True, exact_cdf, 0.0)
    tensors["bound_strided.v"] = v
    write_safetensors(HERE / "discrete_diffusion.safetensors", tensors, {})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
