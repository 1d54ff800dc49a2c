"""Words for parts of the day, which phones that show 12 hours write beside the time of a message.

The abbreviated and wide formats of Unicode's CLDR (as Babel 2.19 has it) for the languages of WhatsApp, and a few of
older editions. Compared as `phrases.plain` returns them.
"""

from functools import lru_cache

from messaging.imports.phrases import plain

MORNING = (
    "a. m | a.m | aamulla | aamup | aamupäivällä | alfajiri | am | ap | asubuhi | da madrugada | da manhã | "
    "de | de la madrugada | de la mañana | di mattina | di notte | die nag | die oggend | dimineața | dop | dopol | "
    "dopoldan | dopoledne | dopoludnia | du mat | du matin | délelőtt | e mesnatës | e mëngjesit | e natës | "
    "e paradites | ekuseni | entathakusa | ertalab | fm | form | gece yarısı | gecə | gecəyarı | hajnal | hatinggabi | "
    "hommikul | in the morning | keskiyöllä | keskööl | la miezul nopții | madaling-araw | matin | matinada | matí | "
    "meia-noite | mezzanotte | middernacht | middernag | midn | midnat | midnatt | midnight | miezul nopții | "
    "minuit | mitjanit | mitternacht | morg | morgens | nachts | naktis | natt | ng umaga | no rīta | nửa đêm | "
    "o poln | o polnoci | o północy | om formiddagen | om morgenen | om natten | opoln | opolnoči | p.d | pagi | "
    "pg | ponoć | priekšp | priekšpusdienā | priešpiet | przed południem | pusnaktī | på formiddagen | på förm | "
    "på förmiddagen | på morg | på morgenen | på morgonen | på natten | půln | půlnoc | r | r.n | rano | reggel | "
    "rytas | ráno | sa | saa sita za usiku | sabah | safiya | sf | sáng | sübh | səhər | tengah malam | to | "
    "ujutro | vidurnaktis | vm | vorm | vormittags | yarim tun | zjut | zjutraj | éjfél | öö | öğleden önce | π.μ | "
    "πμ | πρωί | το πρωί | дп | наутро | ночі | ноќе | полн | полночь | полноќ | полунощ | поноћ | претпл | "
    "претпладне | ранку | сутринта | таңкы | таңғы | тң | түн жарымы | түн ортосу | утра | ујутру | эртең менен | "
    "בבוקר | בוקר | חצות | לפנה״צ | לפנות בוקר | آدھی رات | بامداد | ص | صباحًا | صبح | صبح میں | فجرًا | "
    "في الصباح | ق.ظ | قبلازظهر | نیمهشب | पहाट | पूर्वाह्न | म.पू | मध्यरात्र | मध्यरात्रि | "
    "सकाळ | सुबह | পূর্বাহ্ণ | ভোর | ভোরবেলায় | সকাল | সকালবেলায় | ਅੱਧੀ ਰਾਤ | ਸਵੇਰੇ | મધ્યરાત્રિ | સવારે | "
    "அதிகாலை | காலை | நள்ளிரவு | முற்பகல் | అర్ధరాత్రి | ఉదయం | పూర్వాహ్న | ಬೆಳಗ್ಗೆ | ಮಧ್ಯ ರಾತ್ರಿ | അർദ്ധരാത്രി | "
    "പുലർച്ചെ | രാവിലെ | ก่อนเที่ยง | เที่ยงคืน | ในตอนเช้า | ກ່ອນທ່ຽງ | ຕອນເຊົ້າ | ທ່ຽງຄືນ | በሌሊት | እኩለ ሌሊት | "
    "ጥዋት | ’s nachts | ’s ochtends | დილ | დილით | "
    "შუაღამეს | "
    "上午 | 凌晨 | 午前 | 大清早 | 拂晓 | 拂曉 | 早上 | 早晨 | 朝 | 清早 | 清晨 | 黎明 | 真夜中 | 아침 | 오전 | 자정"
)
EVENING = (
    "ნაშუადღ | ნაშუადღევს | საღ | საღამოს | შუადღ | შუადღეს | "
    "abends | adhuhuri | akşam | akşamüstü | amiază | après-midi | axşam | axşamüstü | ch | chiều | "
    "da tarde | de la tarde | de l’après-midi | del mediodía | del pomeriggio | "
    "di pomeriggio | di sera | die aand | die middag | du | du soir | după-amiaza | dél | délután | e mbrëmjes | "
    "e mesditës | e pasdites | ebusuku | em | este | etterm | gündüz | günorta | i.n | illalla | iltap | "
    "iltapäivällä | in the afternoon | in the evening | ip | jioni | kechqurun | keskip | keskipäivällä | "
    "keskpäeval | kveld | la amiază | m.d | malam | mchana | meio-dia | mezzogiorno | midi | migdia | mittags | "
    "nachm | nachmittags | napol | napoludnie | navečer | ng gabi | ng hapon | nit | nm | noon | ntambama | odp | "
    "odpoledne | om aftenen | om eftermiddagen | opold | opoldne | p. m | p.m | perpiet | petang | pm | "
    "po południu | podne | pol | poledne | pop | popiet | popietė | popodne | popol | popoldan | popoludní | "
    "poslije podne | ptg | pusd | pusdienlaikā | pärastlõunal | på efterm | på eftermiddagen | på ettermiddagen | "
    "på kvelden | på kvällen | pēcp | pēcpusd | pēcpusdienā | saa sita za mchana | seara | soir | sore | "
    "tanghaling-tapat | tarda | tengah hari | tk | tr | trưa | tush payti | tối | vakaras | vakarā | vespre | več | "
    "večer | w południe | wieczorem | yamma | ym | zveč | zvečer | õhtul | ös | öğle | öğleden sonra | απόγ | μ.μ | "
    "μεσημ | μμ | το απόγευμα | το μεσημέρι | вечера | вечерта | вечора | дня | кечинде | кешкі | навечер | "
    "напладне | по подне | подне | полд | полдень | попл | попладне | пп | следобед | тк | түскі | түстен кейінгі | "
    "түштөн кийин | түштөн кийинки | увече | чак түш | אחה״צ | אחר הצהריים | בערב | בצהריים | ערב | צהריים | ب.ظ | "
    "بعد الظهر | بعدازظهر | دوپہر | دوپہر میں | سہ پہر | شام | شام میں | شب | ظهر | ظهرًا | عصر | م | مساءً | "
    "अपराह्न | दुपार | दोपहर | म.उ | मध्यान्ह | शाम | संध्याकाळ | অপরাহ্ণ | দুপুর | দুপুরবেলায় | বিকাল | সন্ধ্যা | "
    "সন্ধ্যাবেলায় | ਦੁਪਹਿਰੇ | ਸ਼ਾਮੀਂ | બપોરે | સાંજે | அந்தி மாலை | நண்பகல் | பிற்பகல் | மதியம் | மாலை | అపరాహ్న | "
    "మధ్యాహ్నం | సాయంత్రం | ಮಧ್ಯಾಹ್ನ | ಸಂಜೆ | ഉച്ച | ഉച്ചതിരിഞ്ഞ് | ഉച്ചയ്ക്ക് | വൈകുന്നേരം | സന്ധ്യ | ค่ำ | บ่าย | "
    "หลังเที่ยง | เที่ยง | ในตอนบ่าย | ในตอนเย็น | ຕອນທ່ຽງ | ຕອນບ່າຍ | ຕອນແລງ | ຫຼັງທ່ຽງ | ቀትር | በምሽት | ከሰዓት | "
    "’s avonds | ’s middags | 下午 | 傍晚 | 午后 | 午後 | 夕方 | 夜 | 昼 | 正午 | 黄昏 | 黃昏 | 오후 | 저녁 | 정오"
)
# From nine at night to five in the morning.
NIGHT = (
    "at night | da noite | de la noche | 半夜 | 午夜 | 夜晚 | 夜裡 | 夜里 | 夜間 | 夜间 | 晚上 | 晚間 | 晚间 | 深夜 | "
    "ღამ | ღამით | "
    "في المساء | ليلاً | gece | kechasi | naktī | noaptea | noću | ponoči | usiku | v n | v noci | w nocy | yöllä | "
    "éjjel | öösel | đêm | βράδυ | το βράδυ | ночи | ноћу | през нощта | түн ичинде | түнгі | בלילה | לילה | رات | "
    "رات میں | रात | रात्र | রাত্রি | রাত্রিবেলায় | ਰਾਤੀਂ | રાત્રે | இரவு | రాత్రి | ರಾತ್ರಿ | രാത്രി | กลางคืน | ກາງຄືນ | "
    "ຕອນກາງຄືນ | 夜中 | 밤"
)
# From ten to three.
NOON = "午間 | 午间 | emini | kunduzi | siang | на обяд | 中午"
# Beside a time, and no part of a day.
CLOCK = (
    "a | a la | a las | a les | alle | alle ore | as | at | da | g | godz | h | hod | hodin | hrs | hs | "
    "jam | kell | kl | klo | klokka | klokken | la | las | lúc | noong | në | o | o godz | ob | om | "
    "ora | ore | oră | orë | pada | pukul | saat | saati | u | uhr | um | uur | v | val | vào lúc | à | "
    "às | ás | óra | στις | ώρα | в | год | о | у | ч | час | בשעה | שעה | الساعة | ساعت | को | बजे | "
    "এ | น | นาฬิกา | เวลา | ເວລາ | ម៉ោង | 시"
)


def _index(words: str) -> frozenset[str]:
    return frozenset(plain(each) for each in words.split(" | "))


_MORNING, _EVENING, _NIGHT, _NOON, _CLOCK = map(_index, (MORNING, EVENING, NIGHT, NOON, CLOCK))


def hour_of_day(hour: int, words: str) -> int | None:
    """Return the hour of 24 hours that an hour of 12 and the words beside it mean; None if the words are not known."""
    words = plain(words.replace("\u200c", ""))
    if words in _MORNING:
        is_late = False
    elif words in _EVENING:
        is_late = True
    elif words in _NIGHT:
        is_late = hour % 12 >= 6
    elif words in _NOON:
        is_late = hour % 12 < 9
    else:
        return None
    return hour % 12 + 12 * is_late


@lru_cache(maxsize=1000)
def is_known(words: str) -> bool:
    """Return whether it is known what the words beside a time mean for its hour, if anything."""
    return hour_of_day(1, words) is not None or plain(words) in _CLOCK
