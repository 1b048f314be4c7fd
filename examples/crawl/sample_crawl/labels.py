"""What surrounds an article on a page: menu entries, notices, buttons, by language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Labels:
    """The chrome of a page in one language."""

    menu: tuple[str, ...]
    sign_in: str
    cookies: str
    accept: str
    related: str
    read_more: str
    share: str
    likes: str
    comments: str
    tags: str
    newsletter: str
    footer: tuple[str, ...]
    rights: str
    published: str
    updated: str
    by: str
    cart: str
    reply: str
    replies: tuple[str, ...]
    authors: tuple[str, ...]
    months: tuple[str, ...]

    def day(self, when: date) -> str:
        """`when` as people write it."""
        if self.months:
            return f"{when.day} {self.months[when.month - 1]} {when.year}"
        return f"{when.year}年{when.month}月{when.day}日"


EN = Labels(
    menu=("Home", "Latest", "Topics", "Archive", "About", "Contact"),
    sign_in="Sign in",
    cookies="We use cookies to keep this site working and to count visits. You can change your choice at any time.",
    accept="Accept all",
    related="You may also like",
    read_more="Read more...",
    share="Share this",
    likes="likes",
    comments="comments",
    tags="Tags",
    newsletter="Get our newsletter every Friday. Enter your email address and press Subscribe.",
    footer=("Terms of use", "Privacy policy", "Advertise", "Jobs", "RSS"),
    rights="All rights reserved.",
    published="Published",
    updated="Last updated",
    by="By",
    cart="0 items in cart",
    reply="Reply",
    replies=("Thanks, that helped a lot.", "Same here!", "Following this thread.", "Great write-up."),
    authors=("Ada Whitlow", "Tom Reyes", "Ingrid Osei", "Marcus Bell", "Priya Nolan", "Hana Frost", "Leo Marsh"),
    months=(
        *("January", "February", "March", "April", "May", "June", "July"),
        *("August", "September", "October", "November", "December"),
    ),
)

JA = Labels(
    menu=("ホーム", "新着", "カテゴリ", "一覧", "このサイトについて", "お問い合わせ"),
    sign_in="ログイン",
    cookies="当サイトでは利便性向上のためにクッキーを使用しています。設定はいつでも変更できます。",
    accept="同意する",
    related="あわせて読みたい",
    read_more="続きを読む",
    share="シェアする",
    likes="いいね",
    comments="コメント",
    tags="タグ",
    newsletter="メールマガジンを毎週配信中。メールアドレスを入力して登録してください。",
    footer=("利用規約", "プライバシーポリシー", "広告掲載", "採用情報", "RSS"),
    rights="無断転載を禁じます。",
    published="公開日",
    updated="最終更新日",
    by="文",
    cart="カートは空です",
    reply="返信",
    replies=("参考になりました。", "ありがとうございます。", "私も同じです。", "勉強になります。"),
    authors=("森田 あかね", "小野 拓也", "西村 はるか", "村上 健", "三浦 奈緒"),
    months=(),
)

ZH = Labels(
    menu=("首页", "最新", "专题", "归档", "关于", "联系我们"),
    sign_in="登录",
    cookies="本网站使用Cookie以保证正常运行并统计访问量。您可以随时更改设置。",
    accept="全部接受",
    related="相关文章",
    read_more="阅读全文",
    share="分享",
    likes="赞",
    comments="评论",
    tags="标签",
    newsletter="每周五发送电子报,请输入邮箱订阅。",
    footer=("使用条款", "隐私政策", "广告", "招聘", "RSS"),
    rights="版权所有。",
    published="发布于",
    updated="更新于",
    by="作者",
    cart="购物车是空的",
    reply="回复",
    replies=("谢谢分享。", "很有帮助。"),
    authors=("林晓", "周文", "陈雨"),
    months=(),
)

DE = Labels(
    menu=("Startseite", "Neues", "Themen", "Archiv", "Über uns", "Kontakt"),
    sign_in="Anmelden",
    cookies="Wir verwenden Cookies, damit diese Seite funktioniert und Besuche gezählt werden können.",
    accept="Alle annehmen",
    related="Das könnte Sie auch interessieren",
    read_more="Weiterlesen...",
    share="Teilen",
    likes="Gefällt mir",
    comments="Kommentare",
    tags="Schlagwörter",
    newsletter="Unser Rundbrief erscheint jeden Freitag. Tragen Sie Ihre Adresse ein.",
    footer=("Nutzungsbedingungen", "Datenschutz", "Impressum", "RSS"),
    rights="Alle Rechte vorbehalten.",
    published="Veröffentlicht am",
    updated="Aktualisiert am",
    by="Von",
    cart="Warenkorb ist leer",
    reply="Antworten",
    replies=("Danke, sehr hilfreich.", "Geht mir genauso."),
    authors=("Jutta Brandt", "Karl Oswald", "Mira Lenz"),
    months=(
        *("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli"),
        *("August", "September", "Oktober", "November", "Dezember"),
    ),
)

FR = Labels(
    menu=("Accueil", "Nouveautés", "Rubriques", "Archives", "À propos", "Contact"),
    sign_in="Se connecter",
    cookies="Nous utilisons des cookies pour faire fonctionner ce site et mesurer sa fréquentation.",
    accept="Tout accepter",
    related="À lire aussi",
    read_more="Lire la suite...",
    share="Partager",
    likes="j'aime",
    comments="commentaires",
    tags="Mots-clés",
    newsletter="Recevez notre lettre chaque vendredi. Saisissez votre adresse.",
    footer=("Conditions d'utilisation", "Confidentialité", "Publicité", "RSS"),
    rights="Tous droits réservés.",
    published="Publié le",
    updated="Mis à jour le",
    by="Par",
    cart="Panier vide",
    reply="Répondre",
    replies=("Merci, très utile.", "Pareil pour moi."),
    authors=("Claire Morin", "Hugo Lambert", "Inès Faure"),
    months=(
        *("janvier", "février", "mars", "avril", "mai", "juin", "juillet"),
        *("août", "septembre", "octobre", "novembre", "décembre"),
    ),
)

ES = Labels(
    menu=("Inicio", "Novedades", "Temas", "Archivo", "Quiénes somos", "Contacto"),
    sign_in="Iniciar sesión",
    cookies="Usamos cookies para que este sitio funcione y para contar las visitas.",
    accept="Aceptar todo",
    related="También te puede interesar",
    read_more="Leer más...",
    share="Compartir",
    likes="me gusta",
    comments="comentarios",
    tags="Etiquetas",
    newsletter="Recibe nuestro boletín cada viernes. Escribe tu correo.",
    footer=("Condiciones de uso", "Privacidad", "Publicidad", "RSS"),
    rights="Todos los derechos reservados.",
    published="Publicado el",
    updated="Actualizado el",
    by="Por",
    cart="Carrito vacío",
    reply="Responder",
    replies=("Gracias, muy útil.", "A mí me pasa lo mismo."),
    authors=("Lucía Prado", "Andrés Vega", "Marta Gil"),
    months=(
        *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio"),
        *("agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    ),
)

LABELS = {"en": EN, "ja": JA, "zh": ZH, "de": DE, "fr": FR, "es": ES}


def labels_for(language: str) -> Labels:
    """The chrome of `language`; English where a site would not have translated it."""
    return LABELS.get(language, EN)


def site_name(host: str) -> str:
    """What a site calls itself: the label before the top-level domain, as a name."""
    return host.split(".")[-2].replace("-", " ").title()
