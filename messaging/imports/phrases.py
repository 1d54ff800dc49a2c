"""What WhatsApp writes into an exported chat in the language of the phone.

English, Portuguese, Spanish, German, French, Italian, Arabic, a few of Dutch, Polish, Russian, Turkish and Hebrew, and
Android's words for media in some thirty more. Compared without case, marks of direction and final dots.
"""

import re

from agent.bridges.events import Kind

MARKS = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_WITHOUT_MARKS = dict.fromkeys(map(ord, MARKS))

OMITTED = {
    Kind.IMAGE: (
        "image omitted", "photo omitted", "imagem ocultada", "imagem omitida", "foto omitida", "imagen omitida",
        "bild weggelassen", "foto weggelassen", "image absente", "image omise", "photo omise", "immagine omessa",
        "foto omessa", "تم استبعاد الصورة", "صورة محذوفة", "afbeelding weggelaten", "изображение отсутствует",
        "görüntü dahil edilmedi",
    ),
    Kind.VIDEO: (
        "video omitted", "gif omitted", "vídeo omitido", "vídeo ocultado", "video omitido", "gif omitido",
        "gif ocultado", "video weggelassen", "gif weggelassen", "vidéo absente", "vidéo omise", "gif omis",
        "gif absent", "gif retiré", "video omesso", "gif omessa", "gif omesso", "تم استبعاد الفيديو",
        "video weggelaten", "видео отсутствует", "video dahil edilmedi", "video note omitted",
    ),
    Kind.AUDIO: (
        "audio omitted", "áudio omitido", "áudio ocultado", "audio omitido", "audio weggelassen", "audio omis",
        "audio absent", "audio omesso", "تم استبعاد الصوت", "audio weggelaten", "аудио отсутствует",
        "ses dahil edilmedi", "voice message omitted",
    ),
    Kind.STICKER: (
        "sticker omitted", "figurinha omitida", "figurinha ocultada", "sticker omitido", "sticker weggelassen",
        "sticker omis", "sticker absent", "sticker omesso", "sticker non incluso", "تم استبعاد الملصق",
        "sticker weggelaten", "стикер отсутствует", "çıkartma dahil edilmedi",
    ),
    Kind.DOCUMENT: (
        "document omitted", "documento omitido", "documento ocultado", "dokument weggelassen", "document omis",
        "document absent", "document manquant", "documento omesso", "تم استبعاد المستند", "document weggelaten",
        "документ отсутствует", "belge dahil edilmedi",
    ),
    Kind.CONTACT: (
        "contact card omitted", "cartão do contato omitido", "contato omitido", "cartão de contato ocultado",
        "tarjeta de contacto omitida", "kontaktkarte ausgelassen", "kontaktkarte weggelassen", "fiche contact omise",
        "fiche contact absente", "contatto omesso", "scheda contatto omessa", "تم استبعاد جهة الاتصال",
    ),
    Kind.UNKNOWN: (  # Android does not say what it was
        "<media omitted>", "<mídia oculta>", "<arquivo de mídia oculto>", "<mídia omitida>", "<multimedia omitido>",
        "<archivo omitido>", "<medien ausgeschlossen>", "<medien weggelassen>", "<médias omis>", "<média omis>",
        "<fichier omis>", "<media omessi>", "<media omesso>", "<تم استبعاد الوسائط>", "<وسائط محذوفة>",
        "<media weggelaten>", "<без медиафайлов>", "<файл пропущен>", "<medya dahil edilmedi>",
        "<pominięto multimedia>", "<медіа пропущено>", "<média vynechány>", "<média vynechána>", "<médiá vynechané>",
        "<média kihagyva>", "<média elhagyva>", "<conținut media omis>", "<medier udeladt>",
        "<mediefil udeladt>", "<media utelatt>", "<media utelämnat>", "<media har utelämnats>",
        "<media jätettiin pois>", "<media jätetty pois>",
        "<αρχείο παραλήφθηκε>", "<εξαίρεση πολυμέσων>", "<без файл>", "<medijski zapis izostavljen>",
        "<медији су изостављени>", "<datoteke izpuščene>", "<fitxers multimèdia omesos>", "<mitjans omesos>",
        "<ficheiro não revelado>", "<המדיה לא נכללה>", "<מדיה הושמטה>", "<رسانه حذف شد>",
        "<میڈیا چھوڑ دیا گیا>", "<मीडिया के बिना>", "<मीडिया छोड़ा गया>", "<मीडिया वगळले>", "<মিডিয়া বাদ দেওয়া হয়েছে>",
        "<media tidak disertakan>", "<media dikecualikan>", "<bỏ qua tệp phương tiện>", "<bỏ qua media>",
        "<ไฟล์สื่อถูกลบ>", "<สื่อถูกลบ>", "<メディアなし>", "<メディアは含まれていません>", "<미디어 파일 제외됨>",
        "<미디어 파일을 생략한 대화내용>", "<省略多媒体文件>", "<忽略多媒體檔>", "<media weggelaat>",
    ),
}  # fmt: skip
ATTACHED = (
    "file attached", "arquivo anexado", "ficheiro anexado", "archivo adjunto", "datei angehängt", "fichier joint",
    "file allegato", "الملف مرفق", "ملف مرفق", "bestand bijgevoegd", "файл добавлен", "dosya ekli",
    "plik załączony", "załączony plik", "fájl csatolva",
)  # fmt: skip
EDITED = (
    "<this message was edited>", "<mensagem editada>", "<esta mensagem foi editada>", "<se editó este mensaje>",
    "<este mensaje fue editado>", "<diese nachricht wurde bearbeitet>", "<ce message a été modifié>",
    "<questo messaggio è stato modificato>", "<messaggio modificato>", "<تم تعديل هذه الرسالة>",
    "<dit bericht is bewerkt>", "<данное сообщение изменено>", "<это сообщение изменено>",
    "<bu mesaj düzenlendi>", "<ta wiadomość została zmieniona>", "<wiadomość edytowana>", "<ההודעה נערכה>",
)  # fmt: skip
DELETED = (
    "this message was deleted", "you deleted this message", "this message was deleted by admin",
    "mensagem apagada", "esta mensagem foi apagada", "você apagou esta mensagem", "apagou esta mensagem",
    "eliminou esta mensagem", "esta mensagem foi eliminada", "se eliminó este mensaje", "eliminaste este mensaje",
    "este mensaje fue eliminado", "este mensaje se eliminó", "diese nachricht wurde gelöscht",
    "du hast diese nachricht gelöscht", "ce message a été supprimé", "vous avez supprimé ce message",
    "questo messaggio è stato eliminato", "hai eliminato questo messaggio", "تم حذف هذه الرسالة",
    "حذفت هذه الرسالة", "لقد حذفت هذه الرسالة", "dit bericht is verwijderd", "u hebt dit bericht verwijderd",
    "je hebt dit bericht verwijderd", "данное сообщение удалено", "вы удалили данное сообщение", "bu mesaj silindi",
    "bu mesajı sildiniz", "это сообщение удалено", "вы удалили это сообщение", "ta wiadomość została usunięta",
    "usunięto tę wiadomość", "ezt az üzenetet törölték", "הודעה זו נמחקה", "מחקת הודעה זו",
)  # fmt: skip
# Parts of lines that WhatsApp itself writes; on Android they have no author, but may hold a colon.
SYSTEM = (
    "end-to-end encrypted", "protegidas com a criptografia", "criptografia de ponta a ponta",
    "cifrados de extremo a extremo", "cifradas de extremo a extremo", "ende-zu-ende-verschlüsselt",
    "chiffrés de bout en bout", "chiffrement de bout en bout", "crittografati end-to-end", "crittografia end-to-end",
    "مشفرة تمامًا بين الطرفين", "مشفّرة تمامًا بين الطرفين",
    "security code", "código de segurança", "código de seguridad", "sicherheitsnummer", "code de sécurité",
    "codice di sicurezza", "رمز الأمان", "رمز الحماية",
    "changed the subject", "changed the group name", "mudou o nome do grupo", "mudou o assunto", "alterou o nome",
    "cambió el asunto", "cambió el nombre del grupo", "hat den betreff", "hat den gruppennamen", "a changé le sujet",
    "a modifié le nom du groupe", "ha cambiato l'oggetto", "ha modificato il nome del gruppo", "غيّر اسم المجموعة",
    "created group", "created this group", "criou o grupo", "creó el grupo", "hat die gruppe", "a créé le groupe",
    "ha creato il gruppo", "أنشأ المجموعة", "changed the group description", "changed this group's icon",
    "changed their phone number", "mudou de número", "cambió su número", "hat die telefonnummer gewechselt",
    "changed to a new number", "this chat is with a business account", "this business",
    "missed voice call", "missed video call", "chamada de voz perdida", "chamada de vídeo perdida", "llamada perdida",
    "llamada de voz perdida", "videollamada perdida", "verpasster sprachanruf", "verpasster videoanruf",
    "appel vocal manqué", "appel vidéo manqué", "chiamata vocale persa", "videochiamata persa", "مكالمة صوتية فائتة",
    "مكالمة فيديو فائتة", "voice call", "video call", "disappearing messages", "mensagens temporárias",
    "mensajes temporales", "selbstlöschende nachrichten", "messages éphémères", "messaggi effimeri",
)  # fmt: skip
LOCATION = re.compile(
    r"^(?:[^\W\d]+(?: [^\W\d]+)?)\s?:\s*https://maps\.google\.com/\?q=(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)$"
)


def plain(text: str) -> str:
    """Return a text as these lists have it."""
    return " ".join(text.translate(_WITHOUT_MARKS).split()).strip().rstrip(".").casefold()


def without_marks(text: str) -> str:
    return text.translate(_WITHOUT_MARKS)


def _index(*lists: tuple[str, ...]) -> frozenset[str]:
    return frozenset(plain(each) for group in lists for each in group)


DELETED_PLAIN = _index(DELETED)
OMITTED_PLAIN = {plain(phrase): kind for kind, phrases in OMITTED.items() for phrase in phrases}
EDITED_PLAIN = frozenset(plain(each.strip("<>")) for each in EDITED)
ATTACHED_PLAIN = _index(ATTACHED)
SYSTEM_PLAIN = tuple(plain(each) for each in SYSTEM)
