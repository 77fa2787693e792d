"""When each problem that every service may answer is met, and what to do about it."""

from cpro_contracts import problems
from cpro_platform.http.api_book import Guidance, Guide

_FIELD = {"field": "query.limit", "code": "less_than_equal", "message": "La valeur doit être au plus 200."}

COMMON_GUIDE: Guide = {
    problems.UNAUTHENTICATED: Guidance(
        "La requête ne porte pas de jeton d'accès.",
        "The request has no access token.",
        "Présentez un jeton d'accès dans l'en-tête Authorization.",
        "Send an access token in the Authorization header.",
    ),
    problems.TOKEN_INVALID: Guidance(
        "Le jeton d'accès a expiré, vient d'un autre émetteur, est destiné à une autre application ou est altéré.",
        "The access token has expired, is of another issuer or for another audience, or was altered.",
        "Reconnectez-vous pour obtenir un nouveau jeton.",
        "Sign in again to get a new token.",
    ),
    problems.FORBIDDEN: Guidance(
        "Le profil du jeton ne donne pas accès à cette ressource, ou l'établissement demandé n'est pas le sien.",
        "The roles in the token give no access here, or the establishment is another one than the token's.",
        "Vérifiez l'établissement choisi ; si le profil manque, demandez-le à l'assistance.",
        "Check the establishment; if the role is missing, ask support for it.",
    ),
    problems.NOT_FOUND: Guidance(
        "L'adresse n'existe pas, ou ce qu'elle désigne n'existe pas dans cet établissement.",
        "There is no such address, or nothing of that id in this establishment.",
        "Vérifiez l'identifiant : partez de la liste plutôt que d'une adresse conservée.",
        "Check the id: start from the list rather than from a stored address.",
    ),
    problems.METHOD_NOT_ALLOWED: Guidance(
        "L'adresse existe, mais pas avec cette méthode.",
        "The address exists, but not with this method.",
        "Utilisez l'une des méthodes de l'en-tête Allow.",
        "Use one of the methods in the Allow header.",
    ),
    problems.INVALID_REQUEST: Guidance(
        "Un paramètre, un en-tête ou un champ du corps manque ou n'a pas la forme attendue ; `errors` les dit tous.",
        "A parameter, a header or a field of the body is missing or malformed; `errors` names all of them.",
        "Corrigez les champs indiqués, puis envoyez de nouveau la requête.",
        "Correct the fields that are named, then send the request again.",
        {"errors": [_FIELD]},
    ),
    problems.INVALID_UAI: Guidance(
        "Le code UAI n'a pas sept chiffres suivis de la lettre de contrôle qui leur correspond.",
        "The UAI has not seven digits followed by the control letter that they call for.",
        "Recopiez l'UAI tel qu'il figure dans le répertoire des établissements.",
        "Copy the UAI from the register of establishments.",
    ),
    problems.ESTABLISHMENT_UNKNOWN: Guidance(
        "Aucune base n'a été ouverte dans CPro pour cet établissement.",
        "No database was set up in CPro for this establishment.",
        "Vérifiez l'UAI ; si l'établissement doit utiliser CPro, contactez l'assistance.",
        "Check the UAI; if the establishment is to use CPro, contact support.",
    ),
    problems.IDEMPOTENCY_KEY_REUSED: Guidance(
        "La clé a déjà servi à une autre demande : autre adresse, autres paramètres ou autre corps.",
        "The key was used for another request: another address, other parameters or another body.",
        "Prenez une nouvelle clé pour chaque nouvelle demande.",
        "Take a new key for each new request.",
    ),
    problems.IDEMPOTENCY_KEY_IN_USE: Guidance(
        "La première demande de cette clé est encore en cours de traitement.",
        "The first request with this key is still being handled.",
        "Répétez la même demande après le délai de `Retry-After` : la réponse sera celle de la première.",
        "Repeat the same request after `Retry-After`: it gets the answer of the first.",
    ),
    problems.PAYLOAD_TOO_LARGE: Guidance(
        "Le corps de la requête dépasse la taille acceptée à cette adresse.",
        "The body is larger than this address accepts.",
        "Réduisez le fichier ; un export SIECLE ou une image ordinaires restent bien en deçà de la limite.",
        "Make the file smaller; an ordinary SIECLE export or picture stays well below the limit.",
    ),
    problems.PRECONDITION_REQUIRED: Guidance(
        "La modification n'annonce pas la version lue.",
        "The change does not say which version it was made from.",
        "Envoyez dans If-Match l'ETag de la version que vous avez lue.",
        "Send the ETag of the version that you have read in If-Match.",
    ),
    problems.PRECONDITION_FAILED: Guidance(
        "Quelqu'un a enregistré une modification depuis votre lecture.",
        "Somebody has saved a change since you read it.",
        "Relisez la ressource, reportez-y votre modification, puis enregistrez de nouveau.",
        "Read the resource again, make your change there, then save again.",
        {"current_etag": '"4"'},
    ),
    problems.TOO_MANY_REQUESTS: Guidance(
        "Trop de requêtes ont été envoyées en peu de temps avec ce compte.",
        "Too many requests were sent in a short time from this account.",
        "Attendez le nombre de secondes de l'en-tête Retry-After, puis réessayez.",
        "Wait for the seconds in the Retry-After header, then try again.",
        {"retry_after_seconds": 12},
    ),
    problems.UNAVAILABLE: Guidance(
        "Une base ou un service dont dépend la réponse ne répond pas en ce moment ; rien n'a été modifié à moitié.",
        "A database or service that the answer depends on is away; nothing was half done.",
        "Veuillez réessayer dans quelques instants.",
        "Please try again in a moment.",
    ),
    problems.INTERNAL: Guidance(
        "Une erreur que personne n'attendait s'est produite.",
        "Something that nobody expected has happened.",
        "Réessayez ; si l'erreur se répète, donnez `request_id` à l'assistance.",
        "Try again; if it happens again, give `request_id` to support.",
    ),
}
