"""Token identification (Shen et al. 2023, section 3.4) and LV-ViT (Jiang et al. 2021) by their definitions, slow and
obvious, to hold the real ones to."""

import torch
import torch.nn.functional as F

from vit_tickets.pipeline.networks.lvvit import LVViT


def reference_ranking(network, image, stages, counts):
    """One image, one head and one token at a time. Returns rank and score as lists of N."""
    with torch.no_grad():
        x = network._pos_embed(network.patch_embed(image[None]))[0]
        prefix = network.num_prefix_tokens
        alive = list(range(len(x) - prefix))
        rank, score = [None] * len(alive), [None] * len(alive)
        for number, block in enumerate(network.blocks, 1):
            attn, normed = block.attn, block.norm1(x)
            q, k, v = attn.qkv(normed).split(attn.attn_dim, dim=-1)
            outputs, cls_rows = [], []
            for head in range(attn.num_heads):
                part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
                weights = torch.softmax(q[:, part] @ k[:, part].T / attn.head_dim**0.5, dim=-1)
                outputs.append(weights @ v[:, part])
                cls_rows.append(weights[0, prefix:])
            x = x + attn.proj(torch.cat(outputs, dim=-1))
            if number in stages:
                attention = (sum(cls_rows) / len(cls_rows)).tolist()
                best_first = sorted(range(len(alive)), key=lambda j: (-attention[j], alive[j]))
                for place, j in enumerate(best_first):
                    rank[alive[j]], score[alive[j]] = place, attention[j]
                kept = sorted(best_first[: counts[stages.index(number)]])
                x = torch.cat([x[:prefix], x[[prefix + j for j in kept]]])
                alive = [alive[j] for j in kept]
                if number == stages[-1]:
                    return rank, score
            x = x + block.mlp(block.norm2(x))
    raise AssertionError("the last stage is one of the blocks")


def small_lvvit(seed: int = 0, **kwargs) -> LVViT:
    """Two blocks on a 3 x 3 grid of 4-pixel patches, in float64, with weights and statistics far from their initial."""
    torch.manual_seed(seed)
    size = {"img_size": 12, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    network = LVViT(**(size | kwargs)).double().eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            torch.nn.init.normal_(value, std=0.3)
    return network


def reference_lvvit_tokens(state, image):
    """The stem on one image: a list of N tokens, in raster order, before positions are added."""
    x = image[None]
    for number, (stride, padding) in enumerate([(2, 3), (1, 1), (1, 1)], 1):
        x = F.conv2d(x, state[f"patch_embed.conv{number}.weight"], stride=stride, padding=padding)
        norm = {name: state[f"patch_embed.bn{number}.{name}"].view(-1, 1, 1) for name in ("weight", "bias")}
        mean, var = (state[f"patch_embed.bn{number}.running_{name}"].view(-1, 1, 1) for name in ("mean", "var"))
        x = ((x - mean) / (var + 1e-5).sqrt() * norm["weight"] + norm["bias"]).clamp(min=0)
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    side, tokens = weight.shape[-1], []
    for top in range(0, x.shape[2], side):
        for left in range(0, x.shape[3], side):
            patch = x[0, :, top : top + side, left : left + side]
            tokens.append((weight * patch).sum((1, 2, 3)) + bias)
    return tokens


def reference_lvvit(state, tokens, kept, num_heads):
    """The rest of it on the tokens `kept` of N, one head at a time: logits of CLS (C,), and of each token kept (K, C).

    16 pre-norm blocks in LV-ViT-S: x + attention / 2, then x + mlp / 2; no bias on queries, keys and values.
    """
    positions = state["pos_embed"][0]
    x = torch.stack([state["cls_token"][0, 0] + positions[0], *(tokens[i] + positions[1 + i] for i in kept)])
    dim = x.shape[1]

    def normed(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for number in range(sum(name.endswith("attn.qkv.weight") for name in state)):
        block = f"blocks.{number}"
        q, k, v = (normed(x, f"{block}.norm1") @ state[f"{block}.attn.qkv.weight"].T).split(dim, dim=-1)
        heads = []
        for head in range(num_heads):
            part = slice(head * dim // num_heads, (head + 1) * dim // num_heads)
            weights = torch.softmax(q[:, part] @ k[:, part].T / (dim / num_heads) ** 0.5, dim=-1)
            heads.append(weights @ v[:, part])
        x = x + linear(torch.cat(heads, dim=-1), f"{block}.attn.proj") / 2
        hidden = linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(hidden, f"{block}.mlp.fc2") / 2
    x = normed(x, "norm")
    return linear(x[0], "head"), linear(x[1:], "aux_head")
