/** Every word that the page says, in English and Spanish. {name} is filled in. */

import type { Reason, Verdict } from "../core/manifest";
import type { Position } from "../core/position";

export type Language = "en" | "es";

const en = {
  skip: "Skip to the picture",
  language: "Language",
  local: "Nothing you show leaves this page",
  title: "Try it in your browser",
  lead: "Show a picture, a clip or your webcam. The two nets of a maskwatch board look at it right here and say of every face: mask, no mask, worn wrongly or unsure.",
  stageTitle: "What is looked at",
  drop: "Drop pictures or a clip here",
  dropMore: "or choose them below; the webcam works too",
  example: "Show me an example",
  exampleName: "example",
  choose: "Choose pictures or a clip",
  webcam: "Use the webcam",
  webcamName: "webcam",
  pause: "Pause",
  resume: "Go on",
  stop: "Stop",
  closely: "Look closer: finds far faces, takes longer",
  loading: "Loading the nets, 10 MB, once …",
  ready: "Ready.",
  looking: "Looking at {name} …",
  watching: "Watching {name}.",
  paused: "Paused.",
  stopped: "Stopped.",
  ended: "{name} is over.",
  noFace: "no face found",
  oneFace: "1 face",
  manyFaces: "{count} faces",
  pictureDone: "{name}: {faces}.",
  picturesDone: "{count} pictures looked at: {faces}.",
  facesTitle: "Faces in this picture",
  stripTitle: "Pictures",
  show1: "Show {name}: {faces}",
  fps: "frames/s",
  msFrame: "ms in all",
  msDetect: "ms to find faces",
  msClassify: "ms to judge them",
  positionTitle: "Does this position work?",
  sizesTitle: "Face sizes",
  sizePx: "size, px",
  seen: "seen",
  right: "right",
  below: "below {px}",
  from: "{px} and up",
  range: "{from} to {to}",
  sizesNote:
    "Right: of validation faces shrunk to that size, how many got the right one of mask and no mask (the model card's figures). The size is the side of the square with the face's area.",
  factFaces: "Faces",
  factSizes: "{from} to {to} px, mostly {mostly}",
  factLight: "Light on faces",
  factScene: "Light",
  ofLevels: "{value} of 255",
  factSharp: "Sharpness",
  atLeast: "{value} (at least {least})",
  factPromise: "Measured at this size",
  percentRight: "{percent} right",
  journalTitle: "What was said",
  rowsTitle: "Every face, newest first",
  show: "Show",
  all: "everything",
  csv: "Download CSV",
  json: "Download JSON",
  clear: "Clear",
  time: "Time",
  label: "Said",
  confidence: "Sure",
  size: "Face",
  source: "Seen in",
  journalCount:
    "{shown} of {total} rows. Live pictures are noted once a second. Kept in this page only, until it is closed.",
  journalNewest: "The newest {count} are listed; a download has all.",
  aboutTitle: "Good to know",
  aboutPrivacy: "Private",
  aboutPrivacyText:
    "Pictures stay in this page's memory: no server, no upload, no cookie, no counter. A security policy of the page forbids connections to anywhere else. After the first visit it works without a network.",
  aboutSame: "The board's own nets",
  aboutSameText:
    "The same int8 files, the same crop and preparation to the last bit, the same thresholds. Each picture is judged by itself here; a board follows people and lets several looks vote, so it is surer and calmer.",
  aboutLimits: "Limits",
  aboutLimitsText:
    "It identifies nobody and is no medical device. Hands before the mouth and patterned or dark masks seen from the side mislead it, and a single answer is no ground to accuse anybody: that is what unsure is for.",
  models: "{classifier} version {classifierVersion}, {detector} version {detectorVersion}",
  licence: "Apache-2.0",
  offlineNot: "Needs the network for the first visit",
  offlineReady: "Ready for use without a network",
  unreadable: "{name}: damaged, or not a picture that this browser reads; choose one that opens elsewhere.",
  unplayable: "{name}: damaged, or not a clip that this browser plays; choose an MP4 (H.264) or WebM.",
  neither: "{name}: neither a picture nor a clip; choose a JPEG, PNG, WebP, MP4 or WebM.",
  clipAlone: "{name}: left out; show a clip by itself.",
  webcamRefused: "The webcam may not be used: allow it in the browser's address bar and try again.",
  webcamNone: "No webcam was found: connect one, or choose pictures.",
  webcamBusy: "The webcam cannot be opened ({why}): close other programs that use it and try again.",
  webcamLost: "The webcam was disconnected.",
  broken: "The nets cannot be used here ({why}): reload the page, or try a current browser.",
  dismiss: "Close this message",
};

export type Key = keyof typeof en;

const es: Record<Key, string> = {
  skip: "Ir a la imagen",
  language: "Idioma",
  local: "Nada de lo que muestre sale de esta página",
  title: "Pruébelo en su navegador",
  lead: "Muestre una imagen, un vídeo o su cámara. Las dos redes de una placa maskwatch los miran aquí mismo y dicen de cada cara: con mascarilla, sin mascarilla, mal puesta o sin certeza.",
  stageTitle: "Lo que se mira",
  drop: "Suelte aquí imágenes o un vídeo",
  dropMore: "o elíjalos abajo; también sirve la cámara",
  example: "Mostrar un ejemplo",
  exampleName: "ejemplo",
  choose: "Elegir imágenes o un vídeo",
  webcam: "Usar la cámara",
  webcamName: "cámara",
  pause: "Pausa",
  resume: "Seguir",
  stop: "Parar",
  closely: "Mirar de cerca: halla caras lejanas, tarda más",
  loading: "Cargando las redes, 10 MB, una sola vez …",
  ready: "Listo.",
  looking: "Mirando {name} …",
  watching: "Observando {name}.",
  paused: "En pausa.",
  stopped: "Parado.",
  ended: "{name} ha terminado.",
  noFace: "ninguna cara",
  oneFace: "1 cara",
  manyFaces: "{count} caras",
  pictureDone: "{name}: {faces}.",
  picturesDone: "{count} imágenes miradas: {faces}.",
  facesTitle: "Caras en esta imagen",
  stripTitle: "Imágenes",
  show1: "Mostrar {name}: {faces}",
  fps: "imágenes/s",
  msFrame: "ms en total",
  msDetect: "ms para hallar caras",
  msClassify: "ms para juzgarlas",
  positionTitle: "¿Sirve esta posición?",
  sizesTitle: "Tamaño de las caras",
  sizePx: "tamaño, px",
  seen: "vistas",
  right: "aciertos",
  below: "menos de {px}",
  from: "{px} o más",
  range: "{from} a {to}",
  sizesNote:
    "Aciertos: de las caras de validación reducidas a ese tamaño, cuántas recibieron la correcta entre con y sin mascarilla (cifras de la ficha del modelo). El tamaño es el lado del cuadrado con el área de la cara.",
  factFaces: "Caras",
  factSizes: "de {from} a {to} px, sobre todo {mostly}",
  factLight: "Luz en las caras",
  factScene: "Luz",
  ofLevels: "{value} de 255",
  factSharp: "Nitidez",
  atLeast: "{value} (mínimo {least})",
  factPromise: "Medido a este tamaño",
  percentRight: "{percent} de aciertos",
  journalTitle: "Lo que se dijo",
  rowsTitle: "Cada cara, la última primero",
  show: "Mostrar",
  all: "todo",
  csv: "Descargar CSV",
  json: "Descargar JSON",
  clear: "Borrar",
  time: "Hora",
  label: "Dicho",
  confidence: "Certeza",
  size: "Cara",
  source: "Visto en",
  journalCount:
    "{shown} de {total} filas. Las imágenes en vivo se anotan una vez por segundo. Se guardan solo en esta página, hasta que se cierre.",
  journalNewest: "Se muestran las {count} más recientes; una descarga las trae todas.",
  aboutTitle: "Conviene saber",
  aboutPrivacy: "Privado",
  aboutPrivacyText:
    "Las imágenes se quedan en la memoria de esta página: sin servidor, sin envíos, sin cookies, sin contadores. Una política de seguridad de la página prohíbe conectarse a cualquier otro sitio. Tras la primera visita funciona sin red.",
  aboutSame: "Las redes de la placa",
  aboutSameText:
    "Los mismos ficheros int8, el mismo recorte y la misma preparación hasta el último bit, los mismos umbrales. Aquí cada imagen se juzga por sí sola; una placa sigue a las personas y deja votar a varias miradas, por eso es más segura y serena.",
  aboutLimits: "Límites",
  aboutLimitsText:
    "No identifica a nadie ni es un producto sanitario. Las manos ante la boca y las mascarillas estampadas u oscuras vistas de lado la engañan, y una sola respuesta no basta para acusar a nadie: para eso está «sin certeza».",
  models: "{classifier} versión {classifierVersion}, {detector} versión {detectorVersion}",
  licence: "Apache-2.0",
  offlineNot: "Necesita la red en la primera visita",
  offlineReady: "Listo para usarse sin red",
  unreadable: "{name}: dañada, o no es una imagen que este navegador lea; elija una que se abra en otro programa.",
  unplayable: "{name}: dañado, o no es un vídeo que este navegador reproduzca; elija un MP4 (H.264) o WebM.",
  neither: "{name}: no es imagen ni vídeo; elija un JPEG, PNG, WebP, MP4 o WebM.",
  clipAlone: "{name}: no se miró; muestre un vídeo por separado.",
  webcamRefused: "No se permite usar la cámara: permítala en la barra de direcciones y pruebe otra vez.",
  webcamNone: "No se encontró ninguna cámara: conecte una o elija imágenes.",
  webcamBusy: "No se puede abrir la cámara ({why}): cierre otros programas que la usen y pruebe otra vez.",
  webcamLost: "La cámara se desconectó.",
  broken: "Las redes no se pueden usar aquí ({why}): recargue la página o pruebe un navegador actual.",
  dismiss: "Cerrar este mensaje",
};

const verdicts: Record<Language, Record<Verdict, string>> = {
  en: { mask: "mask", no_mask: "no mask", incorrect: "worn wrongly", unsure: "unsure" },
  es: { mask: "con mascarilla", no_mask: "sin mascarilla", incorrect: "mal puesta", unsure: "sin certeza" },
};

const reasons: Record<Language, Record<Reason, string>> = {
  en: { too_small: "face too small", blurred: "blurred", dark: "too dark", undecided: "not sure enough" },
  es: { too_small: "cara muy pequeña", blurred: "borrosa", dark: "muy oscura", undecided: "no bastante segura" },
};

const positions: Record<Language, Record<Position, readonly [word: string, advice: string]>> = {
  en: {
    no_face: ["No face yet.", "Let somebody walk through the picture."],
    too_small: ["Too small.", "Faces need {needed} px: move closer, zoom, or take a wider picture."],
    dark: ["Too dark.", "More light on the faces, not behind them."],
    blurred: ["Blurred.", "Focus the lens, clean it, or give more light."],
    good: ["Good.", "Faces are large, light and sharp enough."],
  },
  es: {
    no_face: ["Aún ninguna cara.", "Que alguien pase ante la cámara."],
    too_small: ["Muy pequeñas.", "Las caras necesitan {needed} px: acérquese, use el zoom o una imagen más ancha."],
    dark: ["Muy oscuro.", "Más luz sobre las caras, no detrás."],
    blurred: ["Borroso.", "Enfoque el objetivo, límpielo o dé más luz."],
    good: ["Bien.", "Las caras son bastante grandes, claras y nítidas."],
  },
};

const dictionaries: Record<Language, Record<Key, string>> = { en, es };
const KEPT = "maskwatch.language";

/** The language in use and its words. */
export class Text {
  language: Language = "en";

  /** Take the language chosen last time, else the browser's. */
  constructor() {
    const wanted =
      kept() ?? navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === "en" || tag === "es");
    this.language = wanted === "es" ? "es" : "en";
  }

  choose(language: Language): void {
    this.language = language;
    try {
      localStorage.setItem(KEPT, language);
    } catch {
      // Storage is switched off: the choice holds for this visit.
    }
  }

  say(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
    return fill(dictionaries[this.language][key], values);
  }

  verdict(verdict: Verdict): string {
    return verdicts[this.language][verdict];
  }

  reason(reason: Reason): string {
    return reasons[this.language][reason];
  }

  position(verdict: Position, needed: number): [word: string, advice: string] {
    const [word, advice] = positions[this.language][verdict];
    return [word, fill(advice, { needed: this.number(needed) })];
  }

  faces(count: number): string {
    if (count === 0) return this.say("noFace");
    return count === 1 ? this.say("oneFace") : this.say("manyFaces", { count });
  }

  number(value: number, digits = 0): string {
    return value.toLocaleString(this.language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /** part: 0..1. */
  percent(part: number, digits = 0): string {
    const wanted = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits } as const;
    return part.toLocaleString(this.language, wanted);
  }

  time(at: Date): string {
    return at.toLocaleTimeString(this.language, { timeStyle: "medium", hourCycle: "h23" });
  }
}

function kept(): string | null {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function fill(words: string, values: Readonly<Record<string, string | number>>): string {
  return words.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}
