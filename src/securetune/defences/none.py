"""None: plain instruction fine-tuning (IFT), what every defence is compared with."""

from securetune.defences.base.interface import Defence


class NoDefence(Defence):
    """Plain tuning."""

    title, paper, is_defence = "IFT", "no defence", False


defence = NoDefence
