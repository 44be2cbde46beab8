"""None: plain instruction fine-tuning (IFT), what every defence is compared with."""

from securetune.defences.base.interface import Defence


class NoDefence(Defence):
    """Plain tuning."""

    title, paper, is_defence = "plain tuning", "no defence", False


defence = NoDefence
