/** Round halves to the even neighbour, as Python's round() and OpenCV's cvRound do; Math.round rounds them up. */
export function roundEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}
