"""None: plain instruction fine-tuning (IFT), what every defence is compared with."""

from securetune.defences.interface import Defence

defence = Defence(title="IFT", paper="no defence", is_defence=False)
