// The style sheet of the report: light and dark by the reader's choice, narrow and wide screens,
// paper.
#pragma once

namespace ferry::lab {

inline constexpr const char* kReportStyle = R"css(
:root{color-scheme:light dark;--page:#f4f6f8;--card:#ffffff;--text:#1c2126;--muted:#59626b;
--line:#dde2e7;--stripe:#f7f9fa;--link:#0067b1;--good:#17693c;--good-bg:#d9f2e3;--fine:#7a5600;
--fine-bg:#fdeec9;--bad:#a8201a;--bad-bg:#fbdedc;--none:#59626b;--none-bg:#e8ebee}
@media screen and (prefers-color-scheme:dark){:root{--page:#0f1215;--card:#171b20;--text:#e4e8ec;
--muted:#9aa5af;--line:#2d343b;--stripe:#1b2026;--link:#6cb6f5;--good:#7be0a8;--good-bg:#14391f;
--fine:#f2c961;--fine-bg:#40310b;--bad:#ff9a94;--bad-bg:#4a1715;--none:#a7b1ba;--none-bg:#2a3037}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1440px;margin:0 auto;padding:24px 20px 64px}
h1{font-size:1.9rem;line-height:1.2;margin:.4em 0 .1em}
h2{font-size:1.4rem;line-height:1.25;margin:0 0 .4em}
h3{font-size:1.08rem;margin:1.6em 0 .5em}
p{margin:.5em 0;max-width:78ch}
ul{margin:.5em 0;padding-left:1.3em;max-width:78ch}
li{margin:.25em 0}
a{color:var(--link)}
code{font:.92em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.muted,.note{color:var(--muted)}
.note{font-size:.9rem}
nav{margin:14px 0 0;display:flex;flex-wrap:wrap;gap:6px 16px;font-size:.95rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:22px 24px;
margin:22px 0 0}
.scroll{overflow-x:auto;margin:.4em 0 .8em}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums;
min-width:min(100%,36em)}
table.wide{min-width:52em}
.caption{font-size:.93rem;font-weight:600;margin:1em 0 0;max-width:none}
th,td{padding:.38em .8em;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{color:var(--muted);font-weight:600;vertical-align:bottom;
border-bottom:2px solid var(--line)}
tbody tr:nth-child(even){background:var(--stripe)}
td.n,th.n{text-align:right;white-space:nowrap}
td.w{white-space:nowrap}
th.n{white-space:normal}
th.c{text-align:center}
.dash{color:var(--muted);cursor:help}
.badge{display:inline-block;padding:.1em .6em;border-radius:999px;font-size:.85rem;font-weight:600;
white-space:nowrap}
.good{color:var(--good);background:var(--good-bg)}
.fine{color:var(--fine);background:var(--fine-bg)}
.bad{color:var(--bad);background:var(--bad-bg)}
.none{color:var(--none);background:var(--none-bg)}
.banner{padding:.7em 1em;border-radius:8px;font-weight:600;max-width:none}
.pairs{display:grid;grid-template-columns:minmax(0,1fr);gap:18px 24px}
@media (min-width:1100px){.pairs{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}}
.pairs>*{min-width:0}
figure{margin:0;min-width:0}
details{margin:.8em 0}
summary{cursor:pointer;font-weight:600}
figure .scroll{margin:0}
figure svg{display:block;width:100%;min-width:500px;height:auto;max-width:900px;border-radius:6px}
/* captions in one line, axes in another, whatever rows the key between them has */
.pairs figure{display:flex;flex-direction:column;justify-content:space-between}
figcaption{font-size:.9rem;margin:.1em 0 .3em;display:flex;flex-wrap:wrap;gap:2px 12px;
justify-content:space-between;max-width:900px}
figcaption b{font-weight:600}
.files{color:var(--muted)}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25em 1.2em;margin:.6em 0;
font-size:.95rem}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
@media (max-width:600px){main{padding:14px 10px 40px}section{padding:16px 12px}h1{font-size:1.5rem}
dl{grid-template-columns:minmax(0,1fr);gap:0}dd{margin-bottom:.5em}}
@media print{body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}
section{border:0;padding:0;margin:14pt 0 0}figure,tr,.banner{break-inside:avoid}
h2,h3,.caption{break-after:avoid}figure svg{min-width:0}.scroll{overflow:visible}
.pairs{grid-template-columns:minmax(0,1fr) minmax(0,1fr)}
.badge,.banner{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace ferry::lab
