"""Chapter 03: everything that decides the shape of a U-Net. Imports no torch."""

from dataclasses import dataclass

from ddpm_utils.errors import InputError
from ddpm_utils.settings import check_settings, setting

LEVELS = 10


@dataclass(frozen=True)
class UNetConfig:
    """Everything that decides the network's shape. Resolutions are in pixels, for inputs of image_size.

    The last four are details in which published networks differ: the epsilon of GroupNorm, padding only right and below before
    a stride-2 convolution (Ho) or all round, cosines or sines first in the time embedding, and its frequency shift.
    """

    image_size: int = setting(32, within="[1, inf)", at_most=4096)
    channels: int = setting(3, within="[1, inf)", at_most=1024)
    width: int = setting(64, "channels at full resolution", within="[4, inf)", at_most=2**14)
    multipliers: tuple[int, ...] = setting(
        (1, 2, 2, 2), "times width at each level; the resolution halves from level to level", within="[1, inf)", at_most=64
    )
    blocks: int = setting(2, "residual blocks a level in the encoder; the decoder has one more", within="[1, inf)", at_most=32)
    attention: tuple[int, ...] = setting((16,), "resolutions with self-attention", within="[0, inf)", at_most=4096)
    middle_attention: bool = True
    head_channels: int | None = setting(None, within="[1, inf)", at_most=2**20)  # channels of an attention head; None: one head
    groups: int = setting(32, within="[1, inf)", at_most=2**20)  # of GroupNorm
    dropout: float = setting(0.0, "in every residual block", within="[0, 1)")
    # number of labels; one more, the null label, stands for "no label"
    classes: int | None = setting(None, within="[1, inf)", at_most=10**6)
    condition_channels: int = setting(0, within="[0, inf)", at_most=1024)  # extra input channels, concatenated to x_t
    # output channels behind the image's own, such as the logit of a change mask
    extra_channels: int = setting(0, within="[0, inf)", at_most=1024)
    patch: int = setting(
        1, "pixels a side that are folded into channels before the first convolution: 2 costs a quarter", within="[1, inf)", at_most=256
    )
    norm_eps: float = setting(1e-6, within="(0, 1]")
    asymmetric_padding: bool = True
    cosines_first: bool = False
    frequency_shift: int = setting(1, within="[0, 1]")  # others divide by 0 at some width

    def __post_init__(self):
        check_settings(self)
        object.__setattr__(self, "attention", tuple(sorted(self.attention, reverse=True)))
        if not self.multipliers:
            raise InputError("multipliers must name at least one level, such as (1, 2, 2, 2)")
        if len(self.multipliers) > LEVELS:
            raise InputError(f"multipliers must name at most {LEVELS} levels, got {len(self.multipliers)}")
        if self.width % 2:
            raise InputError(f"width must be an even number, because half of it are sines of t; got {self.width}")
        if self.image_size % self.multiple:
            patches = f", and patches of {self.patch} pixels" if self.patch > 1 else ""
            raise InputError(
                f"image_size must be a multiple of {self.multiple}, because {len(self.multipliers)} levels halve it "
                f"{len(self.multipliers) - 1} times{patches}; got {self.image_size}"
            )
        if odd := [r for r in self.attention if r not in self.resolutions]:
            raise InputError(f"attention resolutions must be among {self.resolutions}, got {odd[0]}")
        for width in self.widths:
            if width % self.groups:
                raise InputError(f"every level's channels must be a multiple of groups={self.groups}, got {width}")
            if self.head_channels and width % self.head_channels:
                raise InputError(f"every level's channels must be a multiple of head_channels={self.head_channels}, got {width}")

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width * m for m in self.multipliers)

    @property
    def resolutions(self) -> tuple[int, ...]:
        return tuple(self.image_size // self.patch // 2**level for level in range(len(self.multipliers)))

    @property
    def multiple(self) -> int:
        """Height and width of every input must be multiples of this."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def skip_channels(self) -> tuple[int, ...]:
        """Channels of the skips in the order of `Encoder.encode`: of the input, each block and each downsampling."""
        last = len(self.widths) - 1
        return (self.widths[0], *(width for level, width in enumerate(self.widths) for _ in range(self.blocks + (level < last))))

    @property
    def null_label(self) -> int | None:
        """The label that stands for "no label": the one after the last class."""
        return self.classes

    @classmethod
    def ho_cifar10(cls) -> "UNetConfig":
        """Ho et al.'s CIFAR-10 network: 35,746,307 parameters."""
        return cls(image_size=32, width=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(16,), dropout=0.1)
