"""Token identification by its definition (Shen et al. 2023, section 3.4), slow and obvious, to hold the real one to."""

import torch


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
