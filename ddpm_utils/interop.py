"""Options and weights to and from diffusers' UNet2DModel: only names differ, and q, k, v are one matrix here.

Plain dicts in, plain dicts out; `UNet.from_diffusers` and `UNet.to_diffusers` build the networks.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ddpm_utils.errors import InputError

RENAMED = [  # (here, in diffusers), applied in order to every weight's name
    (r"^input_conv\.", "conv_in."),
    (r"^time_mlp\.0\.", "time_embedding.linear_1."),
    (r"^time_mlp\.2\.", "time_embedding.linear_2."),
    (r"^label_embedding\.", "class_embedding."),
    (r"^output_norm\.", "conv_norm_out."),
    (r"^output_conv\.", "conv_out."),
    (r"^down\.(\d+)\.resample\.", r"down_blocks.\1.downsamplers.0."),
    (r"^up\.(\d+)\.resample\.", r"up_blocks.\1.upsamplers.0."),
    (r"^(down|up)\.(\d+)\.", r"\1_blocks.\2."),
    (r"^middle\.", "mid_block."),
    (r"\.blocks\.", ".resnets."),
    (r"\.time\.", ".time_emb_proj."),
    (r"\.shortcut\.", ".conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.out\.", r"\1.to_out.0."),
]


def weights_from_diffusers(theirs: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The weights of a network whose own names are `names`, out of a UNet2DModel's state dict."""
    ours = {}
    for name in names:
        parts = [theirs[n] for n in _names_in_diffusers(name)]
        ours[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return ours


def weights_to_diffusers(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """A UNet2DModel's state dict out of a network's own."""
    theirs = {}
    for name, weight in ours.items():
        names = _names_in_diffusers(name)
        theirs.update(zip(names, weight.chunk(len(names))))
    return theirs


def _names_in_diffusers(name: str) -> list[str]:
    for here, there in RENAMED:
        name = re.sub(here, there, name)
    return [name.replace(".qkv.", f".to_{part}.") for part in "qkv"] if ".qkv." in name else [name]


def options_from_diffusers(c: Mapping) -> dict:
    """The fields of a UNetConfig, from a UNet2DModel's options; refuses those that this network does not have."""
    plain = {"DownBlock2D", "UpBlock2D", "AttnDownBlock2D", "AttnUpBlock2D"}
    if other := [b for b in (*c.down_block_types, *c.up_block_types) if b not in plain]:
        raise InputError(f"blocks of diffusers' type {other[0]!r} have no counterpart here; convertible are {', '.join(sorted(plain))}")
    attends = ["Attn" in b for b in c.down_block_types]
    fixed = {
        "act_fn": "silu",
        "center_input_sample": False,
        "class_embed_type": None,
        "downsample_type": "conv",
        "upsample_type": "conv",
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock2D",
        "resnet_time_scale_shift": "default",
        "time_embedding_type": "positional",
    }
    for option, value in fixed.items():
        if c.get(option, value) != value:
            raise InputError(f"diffusers' option {option}={c[option]!r} has no counterpart here; it must be {value!r}")
    if attends != ["Attn" in b for b in c.up_block_types][::-1]:
        raise InputError("the decoder must attend at the same resolutions as the encoder to be converted")
    if not isinstance(size := c.sample_size, int):
        raise InputError(f"only square networks with a known sample_size can be converted, got sample_size={size!r}")
    widths, first = c.block_out_channels, c.block_out_channels[0]
    if any(w % first for w in widths):
        raise InputError(f"block_out_channels must be multiples of the first to be converted, got {tuple(widths)}")
    return dict(
        image_size=size,
        channels=c.out_channels,
        condition_channels=c.in_channels - c.out_channels,
        width=first,
        multipliers=tuple(w // first for w in widths),
        blocks=c.layers_per_block,
        attention=tuple(size // 2**level for level, attend in enumerate(attends) if attend),
        middle_attention=c.add_attention,
        head_channels=c.attention_head_dim,
        groups=c.norm_num_groups,
        dropout=c.dropout,
        classes=None if c.num_class_embeds is None else c.num_class_embeds - 1,
        norm_eps=c.norm_eps,
        asymmetric_padding=c.downsample_padding == 0,
        cosines_first=c.flip_sin_to_cos,
        frequency_shift=c.freq_shift,
    )


def options_to_diffusers(c) -> dict:
    """A UNet2DModel's options, from a UNetConfig."""
    if c.patch > 1:
        raise InputError(
            f"diffusers' UNet2DModel has no patches: only networks with patch=1 can be converted, this one has patch={c.patch}"
        )
    kinds = ["Attn" if resolution in c.attention else "" for resolution in c.resolutions]
    return dict(
        sample_size=c.image_size,
        in_channels=c.channels + c.condition_channels,
        out_channels=c.channels + c.extra_channels,
        layers_per_block=c.blocks,
        block_out_channels=c.widths,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        attention_head_dim=c.head_channels,
        add_attention=c.middle_attention,
        norm_num_groups=c.groups,
        norm_eps=c.norm_eps,
        dropout=c.dropout,
        downsample_padding=0 if c.asymmetric_padding else 1,
        flip_sin_to_cos=c.cosines_first,
        freq_shift=c.frequency_shift,
        num_class_embeds=None if c.classes is None else c.classes + 1,
    )
