"""What the OpenAPI document says beside the routes: names, words and examples of requests, answers and problems."""

from cpro_media import errors
from cpro_media.domain.images import Refusal
from cpro_platform.http import Answer, ApiBook, Guidance, Guide, Operation, as_json

_IMAGES = "/v1/establishments/{uai}/images"
_BYTES = "(les octets de l'image)"
_PICTURES = {"image/png": {"png": _BYTES}, "image/jpeg": {"jpeg": _BYTES}}
_PARTS = {**_PICTURES, "multipart/byteranges": {"parties": "(les parties demandées, chacune avec Content-Range)"}}
_LOGO = {
    "content_type": "image/png", "bytes": 48213, "width": 1024, "height": 512,
    "etag": '"9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab"',
    "changed_at": "2026-09-01T08:00:00Z", "changed_by": "administrateur-0752387M",
}  # fmt: skip
_OF_A_PICTURE = ("ETag", "Last-Modified", "Accept-Ranges", "Content-Disposition")
_PICTURE_ANSWERS = {
    200: Answer("L'image", _PICTURES, headers=_OF_A_PICTURE),
    206: Answer("Les parties demandées de l'image", _PARTS, headers=(*_OF_A_PICTURE, "Content-Range")),
    304: Answer("L'image n'a pas changé", headers=_OF_A_PICTURE),
}

_OPERATIONS = {
    f"GET {_IMAGES}": Operation(
        "listImages",
        "Le logo et le cachet, sans leur contenu",
        {200: Answer("Ce qui est enregistré", as_json(logo_seul={"logo": _LOGO, "stamp": None}))},
    ),
    f"PUT {_IMAGES}/{{kind}}": Operation(
        "storeImage",
        "Enregistrer le logo ou le cachet",
        {200: Answer("L'image enregistrée", as_json(logo=_LOGO), headers=("ETag",))},
        request={
            media_type: {"image": _BYTES}
            for media_type in ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
        },
    ),
    f"GET {_IMAGES}/{{kind}}": Operation("readImage", "Le logo ou le cachet", _PICTURE_ANSWERS),
    f"DELETE {_IMAGES}/{{kind}}": Operation(
        "deleteImage", "Supprimer le logo ou le cachet", {204: Answer("Il n'y a plus d'image")}
    ),
    f"GET {_IMAGES}/{{kind}}/thumbnail": Operation("readThumbnail", "La vignette d'une image", _PICTURE_ANSWERS),
}


def _of_a_file(refusal: Refusal, when_fr: str, when_en: str) -> Guidance:
    return Guidance(when_fr, when_en, *errors.ADVICE[refusal])


_PROBLEMS: Guide = {
    errors.IMAGE_MISSING: Guidance(
        "L'établissement n'a pas enregistré cette image, ou l'a supprimée.",
        "The establishment has not stored this image, or has deleted it.",
        "Enregistrez le logo ou le cachet avant de le demander.",
        "Store the logo or the stamp before you ask for it.",
    ),
    errors.RANGE_NOT_SATISFIABLE: Guidance(
        "La partie demandée commence après la fin de l'image ; Content-Range dit combien elle compte d'octets.",
        "The part asked for begins after the end of the image; Content-Range says how many bytes it has.",
        "Demandez l'image entière, ou une partie qui existe.",
        "Ask for the whole image, or for a part that exists.",
    ),
    errors.REFUSALS[Refusal.EMPTY]: _of_a_file(Refusal.EMPTY, "Aucun octet n'a été reçu.", "No byte was received."),
    errors.REFUSALS[Refusal.TYPE_NOT_ACCEPTED]: _of_a_file(
        Refusal.TYPE_NOT_ACCEPTED,
        "Les octets ne sont ni du PNG, ni du JPEG, ni du WebP, quel que soit le nom du fichier.",
        "The bytes are neither PNG, JPEG nor WebP, whatever the file is called.",
    ),
    errors.REFUSALS[Refusal.ANIMATED]: _of_a_file(
        Refusal.ANIMATED, "Le fichier contient plusieurs images.", "The file holds more than one frame."
    ),
    errors.REFUSALS[Refusal.TOO_MANY_PIXELS]: _of_a_file(
        Refusal.TOO_MANY_PIXELS, "Ses dimensions dépassent la limite.", "Its dimensions are over the limit."
    ),
    errors.REFUSALS[Refusal.DAMAGED]: _of_a_file(
        Refusal.DAMAGED, "L'image ne peut pas être lue jusqu'au bout.", "The image can't be read to its end."
    ),
    errors.REFUSALS[Refusal.TRAILING_DATA]: _of_a_file(
        Refusal.TRAILING_DATA, "Des octets suivent la fin de l'image.", "Bytes follow the end of the image."
    ),
    errors.REFUSALS[Refusal.TOO_DEMANDING]: _of_a_file(
        Refusal.TOO_DEMANDING,
        "La lire demande plus de mémoire ou de temps qu'une image ordinaire.",
        "Reading it takes more memory or time than an ordinary image.",
    ),
    errors.REFUSALS[Refusal.VARIANT_NOT_ACCEPTED]: _of_a_file(
        Refusal.VARIANT_NOT_ACCEPTED,
        "Le format est le bon, mais pas sa variante (couleurs, profondeur, codage).",
        "The format is right, but not its variant (colours, depth, coding).",
    ),
}

BOOK = ApiBook(
    description="Le logo et le cachet de l'établissement.",
    tags={"media": "Le logo et le cachet de l'établissement."},
    operations=_OPERATIONS,
    problems=_PROBLEMS,
    parameters={"kind": "Quelle image"},
    closed_lists={"ImageKind": "Les images d'un établissement : logo ou cachet."},
)
