"""Options and weights to and from diffusers' UNet2DModel: only names differ, and q, k, v are one matrix here.

Plain dicts in, plain dicts out; `UNet.from_diffusers` and `UNet.to_diffusers` build the networks.
"""

import re
from collections.abc import Mapping

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


def weights_from_diffusers(theirs: dict[str, Tensor], shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network with parameters of these names and shapes, out of a UNet2DModel's state dict.

    Rows that only one of the two has: outputs for a variance are left out, and a label that stands for none is zeros.
    """
    ours = {}
    for name, like in shapes.items():
        weight = torch.cat([theirs[n] for n in _names_in_diffusers(name)])
        if name.startswith(("output_conv.", "label_embedding.")) and len(weight) != len(like):
            weight = torch.cat([weight[: len(like)], weight.new_zeros(max(0, len(like) - len(weight)), *weight.shape[1:])])
        ours[name] = weight
    return ours


def weights_to_diffusers(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """A UNet2DModel's state dict out of a network's own."""
    theirs: dict[str, Tensor] = {}
    for name, weight in ours.items():
        names = _names_in_diffusers(name)
        theirs.update(zip(names, weight.chunk(len(names))))
    return theirs


OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # names of before diffusers 0.15


def renamed_of_old(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A UNet2DModel's state dict with the names of today, out of one of any age."""
    return {
        re.sub(rf"\.({'|'.join(OLD_ATTENTION)})\.", lambda found: f".{OLD_ATTENTION[found[1]]}.", name): w for name, w in theirs.items()
    }


def _names_in_diffusers(name: str) -> list[str]:
    for here, there in RENAMED:
        name = re.sub(here, there, name)
    return [name.replace(".qkv.", f".to_{part}.") for part in "qkv"] if ".qkv." in name else [name]


FIXED = {  # options that this network has one value of
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
}
READ = {  # options that become settings, or are checked below
    *("sample_size", "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels", "layers_per_block"),
    *("add_attention", "attention_head_dim", "norm_num_groups", "norm_eps", "dropout", "num_class_embeds", "downsample_padding"),
    *("flip_sin_to_cos", "freq_shift"),
}
DEFAULTS = {  # of the options that older files leave out
    **FIXED,
    **dict(sample_size=None, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(224, 448, 672, 896)),
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
    "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"),
    **dict(add_attention=True, attention_head_dim=8, norm_num_groups=32, norm_eps=1e-5, dropout=0.0, num_class_embeds=None),
    **dict(downsample_padding=1, flip_sin_to_cos=True, freq_shift=0),
}
NO_MATTER = {"num_train_timesteps"}  # only of learned timestep embeddings, which are refused


def with_defaults(options: Mapping) -> dict:
    """All options of a UNet2DModel, from those that its file names."""
    return {**DEFAULTS, **options}


def options_from_diffusers(c: Mapping, last_is_no_label: bool = True) -> dict:
    """The fields of a UNetConfig, from a UNet2DModel's options; refuses by its name whatever this network does not have.

    last_is_no_label: whether the last of its class embeddings stands for no label, as in the networks of this project.
    """
    plain = {"DownBlock2D", "UpBlock2D", "AttnDownBlock2D", "AttnUpBlock2D"}
    if other := [b for b in (*c["down_block_types"], *c["up_block_types"]) if b not in plain]:
        raise InputError(f"blocks of diffusers' type {other[0]!r} have no counterpart here; convertible are {', '.join(sorted(plain))}")
    for option, value in c.items():
        if option in FIXED and value != FIXED[option]:
            raise InputError(f"diffusers' option {option}={value!r} has no counterpart here; it must be {FIXED[option]!r}")
        if option not in (FIXED.keys() | READ | NO_MATTER) and not option.startswith("_") and value is not None:
            raise InputError(f"diffusers' option {option}={value!r} is unknown here; only networks without it can be converted")
    if c["downsample_padding"] not in (0, 1):
        raise InputError(f"diffusers' option downsample_padding must be 0 or 1 to be converted, got {c['downsample_padding']!r}")
    attends = ["Attn" in b for b in c["down_block_types"]]
    if attends != ["Attn" in b for b in c["up_block_types"]][::-1]:
        raise InputError("the decoder must attend at the same resolutions as the encoder to be converted")
    if not isinstance(size := c["sample_size"], int):
        raise InputError(f"only square networks with a known sample_size can be converted, got sample_size={size!r}")
    widths, first = c["block_out_channels"], c["block_out_channels"][0]
    if any(w % first for w in widths):
        raise InputError(f"block_out_channels must be multiples of the first to be converted, got {tuple(widths)}")
    inputs, outputs, embeddings = c["in_channels"], c["out_channels"], c["num_class_embeds"]
    if predicts_variance(c):
        outputs = inputs
    if outputs > inputs:
        raise InputError(f"{outputs} output channels of {inputs} input channels have no counterpart here; at most as many can be converted")
    return dict(
        image_size=size,
        channels=outputs,
        condition_channels=inputs - outputs,
        width=first,
        multipliers=tuple(w // first for w in widths),
        blocks=c["layers_per_block"],
        attention=tuple(size // 2**level for level, attend in enumerate(attends) if attend),
        middle_attention=c["add_attention"],
        head_channels=c["attention_head_dim"],
        groups=c["norm_num_groups"],
        dropout=c["dropout"],
        classes=None if embeddings is None else embeddings - last_is_no_label,
        norm_eps=c["norm_eps"],
        asymmetric_padding=c["downsample_padding"] == 0,
        cosines_first=c["flip_sin_to_cos"],
        frequency_shift=c["freq_shift"],
    )


def predicts_variance(c: Mapping) -> bool:
    """Whether a UNet2DModel has an output for the variance beside each for the image, as networks with a learned sigma do."""
    return c["out_channels"] == 2 * c["in_channels"]


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
