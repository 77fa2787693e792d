"""The crash points of the mover, in the order in which it reaches them."""

BEFORE_THE_LANDING = (
    "move.claiming",
    "move.claimed",
    "move.prepared",
    "move.holding",
    "move.held",
    "move.files_copied",
    "move.copied",
    "move.landing",
)
FROM_THE_LANDING_ON = (
    "move.landed",
    "move.finishing",
    "move.finished",
    "move.tidied",
    "move.completing",
    "move.completed",
)
OF_THE_MOVER = (*BEFORE_THE_LANDING, *FROM_THE_LANDING_ON)
