"""What the OpenAPI document says beside the routes: names, words and examples. `problem_guide` has the problems."""

from cpro_platform.http import Answer, ApiBook, Operation, as_json, page, shown
from cpro_settings.domain.conditions import Conditions
from cpro_settings.domain.effect import ACTIVATING_FR, WITHDRAWING_FR
from cpro_settings.entrypoints.models import ChangeOut, SheetOut
from cpro_settings.entrypoints.notification_models import NotificationOut, NotificationSettingsOut
from cpro_settings.entrypoints.opt_in_models import ConditionsOut, EffectOut, OptInEntryOut, TransferSettingsOut
from cpro_settings.entrypoints.problem_guide import PROBLEMS

_SCHOOL = "/v1/establishments/{uai}"
_BY = "administrateur-0752387M"
_AT = "2026-09-01T08:00:00Z"
_TYPED = {
    "name": "Lycée professionnel Jean-Jaurès",
    "email": "ce.0752387m@ac-paris.fr",
    "street": "1 rue de l'École",
    "postcode": "75012",
    "city": "Paris",
    "telephone": "01 23 45 67 89",
    "head": "Mme Dupont",
    "academy": "Paris",
    "website": "https://www.lycee-jean-jaures.example",
}
_SHEET = {
    "uai": "0752387M", **_TYPED, "changed_at": _AT, "changed_by": _BY,
    "ready_for": {"user_creation": True, "passport_export": True}, "missing_fields": [],
}  # fmt: skip
_COMPLETE = shown(SheetOut, _SHEET)
_TO_COMPLETE = shown(
    SheetOut,
    {
        **_SHEET, "head": None, "ready_for": {"user_creation": False, "passport_export": False},
        "missing_fields": ["head"],
    },
)  # fmt: skip
_CHANGE = shown(
    ChangeOut,
    {
        "version": 3, "changed_at": _AT, "changed_by": _BY,
        "fields": {"telephone": {"before": "01 23 45 67 00", "after": "01 23 45 67 89"}},
    },
)  # fmt: skip

_ON = {"enabled": True, "roster_source": "siecle"}
_OFF = {"enabled": False, "roster_source": "siecle"}
_CHOSEN = shown(TransferSettingsOut, {**_ON, "changed_at": _AT, "changed_by": _BY, "accepted_conditions": 1})
_NEVER_CHOSEN = shown(
    TransferSettingsOut, {**_OFF, "changed_at": None, "changed_by": None, "accepted_conditions": None}
)
_IN_FORCE = ConditionsOut.of(Conditions(1, "En activant le transfert, le chef d'établissement accepte que…"))
_ENTRY = shown(
    OptInEntryOut,
    {
        "revision": 1042, "changed_at": _AT, "changed_by": _BY, "before": _OFF, "after": _ON,
        "accepted_conditions": _IN_FORCE.model_dump(),
    },
)  # fmt: skip
_SIDE = {"starts": 12, "under_way": 0, "stops": 0, "done": None, "others": [{"reason": "not_arrived", "number": 31}]}
_NONE: dict[str, object] = {"starts": 0, "under_way": 0, "stops": 0, "done": None, "others": []}
_BEFORE = shown(
    EffectOut,
    {
        "enabled": True, "in_force": False, "summary": "12 élèves sont en attente de cet accord.",
        "consequences": ACTIVATING_FR,
        "figures": {"taken_at": _AT, "outgoing": _SIDE, "incoming": _NONE}, "figures_unavailable": None,
    },
)  # fmt: skip
_AFTER = shown(
    EffectOut,
    {
        "enabled": True, "in_force": True, "summary": "12 transferts terminés, 3 en cours.",
        "consequences": ACTIVATING_FR,
        "figures": {
            "taken_at": "2026-09-03T08:00:00Z",
            "outgoing": {**_SIDE, "starts": 0, "under_way": 3, "done": 12}, "incoming": {**_NONE, "done": 0},
        },
        "figures_unavailable": None,
    },
)  # fmt: skip
_WITHOUT_FIGURES = shown(
    EffectOut,
    {
        "enabled": False, "in_force": False,
        "summary": "Le nombre d'élèves concernés ne peut pas être obtenu pour le moment. "
        "Vous pouvez enregistrer votre choix : il n'en dépend pas.",
        "consequences": WITHDRAWING_FR, "figures": None, "figures_unavailable": "transfers_away",
    },
)  # fmt: skip

_NOTIFIED = {
    "uai": "0752387M", "enabled": True, "address": "ce.0752387m@ac-paris.fr", "obstacle": None,
    "refused_address": None, "refused_with": None, "changed_at": _AT, "changed_by": _BY,
}  # fmt: skip
_TOLD = shown(NotificationSettingsOut, _NOTIFIED)
_REFUSED = shown(
    NotificationSettingsOut,
    {
        **_NOTIFIED, "obstacle": "address_refused", "refused_address": "ce.0752387m@ac-paris.fr",
        "refused_with": "550 5.1.1",
    },
)  # fmt: skip
_MAIL = shown(
    NotificationOut,
    {
        "id": "0b8f0f6e-2f5c-4b0e-9d0e-0f6a3c1b2a10", "day": "2026-09-02", "state": "sent",
        "recipient": "ce.0752387m@ac-paris.fr", "incoming": 12, "outgoing": 3, "attempts": 1,
        "formed_at": "2026-09-02T05:00:12Z", "settled_at": "2026-09-02T05:00:13Z", "tried_again_at": None,
        "reply": "250 OK",
    },
)  # fmt: skip

_OPERATIONS = {
    f"GET {_SCHOOL}": Operation(
        "readSheet",
        "La fiche de l'établissement",
        {
            200: Answer(
                "La fiche", as_json(complete=_COMPLETE, a_completer=_TO_COMPLETE), headers=("ETag",)
            ),
            304: Answer("La fiche n'a pas changé", headers=("ETag",)),
        },
    ),
    f"PUT {_SCHOOL}": Operation(
        "saveSheet",
        "Enregistrer la fiche de l'établissement",
        {200: Answer("La fiche enregistrée", as_json(complete=_COMPLETE), headers=("ETag",))},
        request=as_json(fiche=_TYPED),
    ),
    f"GET {_SCHOOL}/history": Operation(
        "readSheetHistory",
        "L'historique de la fiche",
        {
            200: Answer(
                "Les modifications, par pages",
                as_json(page=page(_CHANGE, next_cursor="WzNd"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"GET {_SCHOOL}/transfer-settings": Operation(
        "readTransferSettings",
        "Le choix de transférer ou non les données",
        {200: Answer("Le choix en vigueur", as_json(active=_CHOSEN, jamais_choisi=_NEVER_CHOSEN))},
    ),
    f"PUT {_SCHOOL}/transfer-settings": Operation(
        "chooseTransferSettings",
        "Activer ou désactiver le transfert des données",
        {200: Answer("Le choix enregistré", as_json(active=_CHOSEN))},
        request=as_json(activer={**_ON, "accepted_conditions": 1}, desactiver=_OFF),
    ),
    f"GET {_SCHOOL}/transfer-settings/conditions": Operation(
        "readTransferConditions",
        "Les conditions du transfert",
        {
            200: Answer(
                "Les conditions en vigueur", as_json(en_vigueur=_IN_FORCE.model_dump()),
                headers=("Content-Language",),
            )
        },
    ),
    f"GET {_SCHOOL}/transfer-settings/history": Operation(
        "readTransferSettingsHistory",
        "L'historique du choix",
        {
            200: Answer(
                "Les choix, par pages",
                as_json(page=page(_ENTRY, next_cursor="WzEwNDJd"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"GET {_SCHOOL}/transfer-settings/preview": Operation(
        "previewTransferSettings",
        "Ce qu'un choix ferait",
        {
            200: Answer(
                "L'effet du choix",
                as_json(activer=_BEFORE, sans_chiffres=_WITHOUT_FIGURES),
                headers=("Content-Language", "Vary"),
            )
        },
    ),
    f"GET {_SCHOOL}/transfer-settings/effect": Operation(
        "readTransferSettingsEffect",
        "Ce que fait le choix en vigueur",
        {200: Answer("L'effet du choix", as_json(active=_AFTER), headers=("Content-Language", "Vary"))},
    ),
    f"GET {_SCHOOL}/notification-settings": Operation(
        "readNotificationSettings",
        "Le choix d'être averti par courriel",
        {200: Answer("Le choix en vigueur", as_json(averti=_TOLD, adresse_refusee=_REFUSED), headers=("ETag",))},
    ),
    f"PUT {_SCHOOL}/notification-settings": Operation(
        "chooseNotificationSettings",
        "Activer ou désactiver les avis par courriel",
        {200: Answer("Le choix enregistré", as_json(averti=_TOLD), headers=("ETag",))},
        request=as_json(activer={"enabled": True}),
    ),
    f"GET {_SCHOOL}/notifications": Operation(
        "readNotifications",
        "Les avis par courriel",
        {
            200: Answer(
                "Les avis, par pages",
                as_json(page=page(_MAIL, next_cursor="WyIyMDI2LTA5LTAyIl0"), vide=page()),
                headers=("Link",),
            )
        },
    ),
}  # fmt: skip

BOOK = ApiBook(
    description="La fiche de l'établissement, sa participation au transfert des données et ses avis par courriel.",
    tags={
        "settings": "La fiche de l'établissement et sa participation au transfert des données.",
        "notifications": "Les avis par courriel : au plus un par jour, sans nom d'élève.",
    },
    operations=_OPERATIONS,
    problems=PROBLEMS,
    parameters={"enabled": "Le choix dont l'effet est demandé"},
    closed_lists={
        "MailState": "Où en est un courriel.",
        "Obstacle": "Pourquoi un établissement qui veut des courriels n'en reçoit pas.",
        "Unavailable": "Pourquoi il n'y a pas de chiffres : plutôt aucun que des faux.",
    },
)
