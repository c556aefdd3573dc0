/** Rounded to the nearest whole number, halves to the even one, as NumPy and torch do. @param {number} value */
export function halfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}
