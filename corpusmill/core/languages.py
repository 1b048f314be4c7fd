"""Codes of languages: what a model of languages calls them, and what the rest of the chain does.

The chain knows a language by its ISO 639-1 code, or by its ISO 639-3 code where it has no shorter one. Models name
languages in their own way: lid.176 as Wikipedia does (`ja`, `als`), OpenLID, GlotLID and NLLB by ISO 639-3 code and
script (`jpn_Jpan`). The tables are those of ISO 639, which has added no two-letter code since 2002.
"""

from __future__ import annotations

import re
from typing import Final

LABEL_PREFIX: Final = "__label__"

_WITH_SCRIPT = re.compile(r"([a-z]{2,3})[_-]([A-Z][a-z]{3})")

# ISO 639-3 (and 639-2/T) code : ISO 639-1 code.
_ISO_639 = """
aar:aa abk:ab afr:af aka:ak amh:am ara:ar arg:an asm:as ava:av ave:ae aym:ay aze:az bak:ba bam:bm bel:be ben:bn
bih:bh bis:bi bod:bo bos:bs bre:br bul:bg cat:ca ces:cs cha:ch che:ce chu:cu chv:cv cor:kw cos:co cre:cr cym:cy
dan:da deu:de div:dv dzo:dz ell:el eng:en epo:eo est:et eus:eu ewe:ee fao:fo fas:fa fij:fj fin:fi fra:fr fry:fy
ful:ff gla:gd gle:ga glg:gl glv:gv grn:gn guj:gu hat:ht hau:ha hbs:sh heb:he her:hz hin:hi hmo:ho hrv:hr hun:hu
hye:hy ibo:ig ido:io iii:ii iku:iu ile:ie ina:ia ind:id ipk:ik isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks
kat:ka kau:kr kaz:kk khm:km kik:ki kin:rw kir:ky kom:kv kon:kg kor:ko kua:kj kur:ku lao:lo lat:la lav:lv lim:li
lin:ln lit:lt ltz:lb lub:lu lug:lg mah:mh mal:ml mar:mr mkd:mk mlg:mg mlt:mt mon:mn mri:mi msa:ms mya:my nau:na
nav:nv nbl:nr nde:nd ndo:ng nep:ne nld:nl nno:nn nob:nb nor:no nya:ny oci:oc oji:oj ori:or orm:om oss:os pan:pa
pli:pi pol:pl por:pt pus:ps que:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slv:sl sme:se smo:sm
sna:sn snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv tah:ty tam:ta tat:tt tel:te
tgk:tg tgl:tl tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzb:uz ven:ve vie:vi
vol:vo wln:wa wol:wo xho:xh yid:yi yor:yo zha:za zho:zh zul:zu
"""
# Members of a macrolanguage for which its two-letter code usually stands. Not als, which is Alemannic to lid.176.
_MEMBERS = """
arb:ar ayr:ay azj:az cmn:zh ekk:et fil:tl gaz:om gug:gn ike:iu khk:mn kmr:ku knc:kr kpv:kv lvs:lv npi:ne ory:or
pbu:ps pes:fa plt:mg quy:qu swh:sw uzn:uz ydd:yi zsm:ms
"""
_ALBANIAN: Final = "als"
# Languages that are not usually written in Latin letters: a text that is has other words than the rest.
_USUALLY_NOT_LATIN = """
ab am ar as av ba be bg bh bn bo ce cv dv dz el fa gu he hi hy ii iu ja ka kk km kn ko kv ky lo mk ml mn mr my ne or
os pa ps ru sa sd si ta te tg th ti tt ug uk ur wuu yi yue zh
"""

_CODES: Final = dict(pair.split(":") for pair in (_ISO_639 + _MEMBERS).split())
_NOT_LATIN: Final = frozenset(_USUALLY_NOT_LATIN.split())


def normalised(label: str) -> str:
    """The chain's code for what a model calls `label` (with or without `__label__`).

    `jpn_Jpan`, `jpn` and `ja` are `ja`; `cmn_Hani`, `zho_Hans` and `zho_Hant` are `zh`. A script is left out, except
    Latin in a language that is usually written in another script: `hin_Latn` is `hi-Latn`, so that no rule for texts
    in its usual script takes it for one. What is no language code (`und_Latn`, `noise`) stays as it is.
    """
    code = label.removeprefix(LABEL_PREFIX)
    match = _WITH_SCRIPT.fullmatch(code)
    if match is None:
        return _CODES.get(code, code)
    language, script = match.groups()
    if language == "und":
        return code
    short = "sq" if language == _ALBANIAN else _CODES.get(language, language)
    return f"{short}-Latn" if script == "Latn" and short in _NOT_LATIN else short
