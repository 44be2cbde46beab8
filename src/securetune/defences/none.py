"""None: plain instruction fine-tuning (IFT), what every defence is compared with."""

from securetune.defences.interface import Defence


class NoDefence(Defence):
    """Plain tuning."""

    title, paper, is_defence = "IFT", "no defence", False


defence = NoDefence
