"""Codes of languages. Ours are the two letters of ISO 639-1 where a language has them, as platforms tell them; other
systems write the three letters of ISO 639-3. Both name the same language, here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping

# ISO 639-3 (and the bibliographic forms of 639-2) → ISO 639-1: https://iso639-3.sil.org/code_tables/639/data
_PAIRS = """
aar aa abk ab afr af aka ak amh am ara ar arg an asm as ava av ave ae aym ay aze az bak ba bam bm bel be ben bn bis bi
bod bo bos bs bre br bul bg cat ca ces cs cha ch che ce chu cu chv cv cor kw cos co cre cr cym cy dan da deu de div dv
dzo dz ell el eng en epo eo est et eus eu ewe ee fao fo fas fa fij fj fin fi fra fr fry fy ful ff gla gd gle ga glg gl
glv gv grn gn guj gu hat ht hau ha hbs sh heb he her hz hin hi hmo ho hrv hr hun hu hye hy ibo ig ido io iii ii iku iu
ile ie ina ia ind id ipk ik isl is ita it jav jv jpn ja kal kl kan kn kas ks kat ka kau kr kaz kk khm km kik ki kin rw
kir ky kom kv kon kg kor ko kua kj kur ku lao lo lat la lav lv lim li lin ln lit lt ltz lb lub lu lug lg mah mh mal ml
mar mr mkd mk mlg mg mlt mt mon mn mri mi msa ms mya my nau na nav nv nbl nr nde nd ndo ng nep ne nld nl nno nn nob nb
nor no nya ny oci oc oji oj ori or orm om oss os pan pa pli pi pol pl por pt pus ps que qu roh rm ron ro run rn rus ru
sag sg san sa sin si slk sk slv sl sme se smo sm sna sn snd sd som so sot st spa es sqi sq srd sc srp sr ssw ss sun su
swa sw swe sv tah ty tam ta tat tt tel te tgk tg tgl tl tha th tir ti ton to tsn tn tso ts tuk tk tur tr twi tw uig ug
ukr uk urd ur uzb uz ven ve vie vi vol vo wln wa wol wo xho xh yid yi yor yo zha za zho zh zul zu
alb sq arm hy baq eu bur my chi zh cze cs dut nl fre fr geo ka ger de gre el ice is mac mk mao mi may ms per fa rum ro
slo sk tib bo wel cy
""".split()
_BIBLIOGRAPHIC = _PAIRS.index("alb")

_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,2}", re.ASCII)
_SHORT: Mapping[str, str] = dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True))
_LONG: Mapping[str, str] = {
    short: long for long, short in zip(_PAIRS[:_BIBLIOGRAPHIC:2], _PAIRS[1:_BIBLIOGRAPHIC:2], strict=True)
}


def short(code: str) -> str:
    """The code as we write it: `spa` → `es`, `pt-br` → `pt`; three letters that have no two stay (`wym`)."""
    plain = code.strip().partition("-")[0].partition("_")[0].lower()
    return _SHORT.get(plain, plain)


def long(code: str) -> str:
    """The three letters of a code: `es` → `spa`; what is not known stays as it is."""
    return _LONG.get(code, code)


def is_code(value: object) -> bool:
    """Whether it looks like a language as we keep it (`it`, `wym`, `pt-br`), or is none."""
    return value in (None, "") or (isinstance(value, str) and _CODE.fullmatch(value) is not None)


def ours(code: str) -> str:
    """The code as it is kept with a contact: three letters become the two that platforms tell, others stay."""
    return _SHORT.get(code.strip().lower(), code)
