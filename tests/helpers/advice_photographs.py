"""What sentences of retouch about photographs tell to do; see advice.py."""

from advice import go

ROWS = [
    go(
        "retouch phot.png --out y.png RETOUCH",
        "there is no photograph or folder 'phot.png'; check the name",
        "retouch photo.png --out y.png RETOUCH",
    ),
    go(
        "retouch photo.png --mask no.png --out y.png RETOUCH",
        "there is no mask 'no.png'; check the name",
        "retouch photo.png --mask white.png --out y.png RETOUCH",
    ),
    go(
        "retouch photo.png --method frequency --out y.png",
        "; add --include, a mask that is white on the wrinkles",
        "retouch photo.png --method frequency --include white.png --out y.png",
    ),
    go(
        "retouch photo.png --out y.png --cloth --raw RETOUCH",
        "which --raw, --wrinkles and --method frequency don't ask; leave it out, or them",
        "retouch photo.png --out y.png --raw RETOUCH",
        "retouch photo.png --out z.png --cloth RETOUCH",
    ),
    go(
        "retouch photo.png --out y.png --report r.html RETOUCH",
        "; take --side-by-side instead",
        "retouch photo.png --out y.png --side-by-side s.png RETOUCH",
    ),
    go(
        "retouch photos --out y --restore no.json RETOUCH",
        "there are no decisions 'no.json' (No such file or directory); check the name",
        "retouch photos --out y --restore d.json RETOUCH",
        mend="Path('d.json').write_text('{\"rejected\": []}')",
    ),
    go(
        "retouch photos --out y --restore file RETOUCH",
        "; save them from the page that --report wrote",
        "retouch photos --out y --report r.html RETOUCH",
        "retouch photos --out y --restore d.json RETOUCH",
        mend="Path('d.json').write_text('{\"rejected\": []}')",
    ),
    go(
        "retouch photos --out y --restore d.json RETOUCH",
        "'photos' holds no photograph 'a.png'; give the folders that the decisions are about",
        "retouch photos --out y RETOUCH",
        "retouch photos --out y --restore d.json RETOUCH",
        spoil="Path('d.json').write_text('{\"rejected\": [\"a.png\"]}')",
        mend="shutil.copy('photo.png', 'photos/a.png')",
    ),
    go("retouch empty --out y RETOUCH", "; it should hold files that end in", mend="shutil.copy('photo.png', 'empty')"),
    go(
        "retouch photo.png --out photo.png --overwrite RETOUCH",
        "; give the result another name",
        "retouch photo.png --out y.png RETOUCH",
    ),
    go(
        "retouch photo.png --out white.png RETOUCH",
        "; choose another name, or pass --overwrite",
        "retouch photo.png --out y.png RETOUCH",
        "retouch photo.png --out white.png --overwrite RETOUCH",
    ),
    go(
        "retouch photos --out file RETOUCH", "must be a folder, because 'photos' is one; 'file' is a file", "retouch photos --out y RETOUCH"
    ),
    go(
        "retouch photo.heic --out y.heic RETOUCH",
        "; convert it to JPEG first",
        "retouch p.jpg --out y.jpg RETOUCH",
        spoil="Path('photo.heic').touch()",
        mend="open_image('photo.png').save('p.jpg', quality=100)",
    ),
    go(
        "retouch notes.txt --out y.txt RETOUCH", "; they end in", "retouch photo.png --out y.png RETOUCH", spoil="Path('notes.txt').touch()"
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "is empty, it has 0 bytes; restore a whole copy of it",
        spoil="Path('p.png').touch()",
        mend="shutil.copy('photo.png', 'p.png')",
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "is damaged or no image (OSError: image file is truncated); restore a whole copy of it",
        spoil="shutil.copy('photo.png', 'p.png'); cut('p.png')",
        mend="shutil.copy('photo.png', 'p.png')",
    ),
    go(
        "retouch photo.png --mask m.png --out y.png RETOUCH",
        "; give it the same size or proportions",
        spoil="open_image('white.png').resize((64, 20)).save('m.png')",
        mend="open_image('white.png').resize((32, 32)).save('m.png')",
    ),
    go(
        "retouch photo.png --mask m.png --out y.png RETOUCH",
        "; it should be an image",
        spoil="Path('m.png').write_text('x')",
        mend="shutil.copy('white.png', 'm.png')",
    ),
    go(
        "retouch p.jpg --out y.jpg RETOUCH",
        "CMYK, made for print; convert it to RGB first",
        spoil="open_image('photo.png').convert('CMYK').save('p.jpg')",
        mend="open_image('p.jpg').convert('RGB').save('p.jpg')",
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "too few for a retouched photograph; convert it to RGB first",
        spoil="open_image('photo.png').convert('P').save('p.png')",
        mend="open_image('p.png').convert('RGB').save('p.png')",
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "convert it to RGB or grey of 8 or 16 bits first",
        spoil="open_image('photo.png').convert('1').save('p.png')",
        mend="open_image('p.png').convert('L').save('p.png')",
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "; give it an alpha channel first",
        spoil="open_image('photo.png').save('p.png', transparency=(1, 2, 3))",
        mend="open_image('p.png').convert('RGBA').save('p.png')",
    ),
    go(
        "retouch p.tif --out y.tif RETOUCH",
        "; save it without compression first",
        spoil="open_image('photo.png').save('p.tif', compression='tiff_lzw')",
        mend="open_image('p.tif').save('p.tif', compression=None)",
    ),
    go(
        "retouch p.webp --out y.webp RETOUCH",
        "; only single ones can be retouched",
        spoil="open_image('photo.png').save('p.webp', save_all=True, append_images=[open_image('white.png').convert('RGB')])",
        mend="open_image('p.webp').convert('RGB').save('p.webp')",
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "; JPEG, PNG, TIFF, WebP and BMP can be retouched",
        spoil="open_image('photo.png').save('p.png', 'GIF')",
        mend="open_image('p.png').convert('RGB').save('p.png', 'PNG')",
    ),
    go(
        "retouch p.tif --out y.tif RETOUCH",
        "; save it as RGB or grey, 8 or 16 bits, uncompressed",
        spoil="open_image('photo.png').convert('F').save('p.tif')",
        mend="open_image('photo.png').save('p.tif')",
    ),
    go(
        "retouch photos --mask empty --out y RETOUCH",
        "with whatever ending; add one, white where retouching is allowed",
        mend="shutil.copy('white.png', 'empty/1.png')",
    ),
    go(
        "retouch p.png --out y.png RETOUCH",
        "; shrink it or cut it up",
        spoil="open_image('zeros.png').resize((13500, 13500)).save('p.png')",
        mend="open_image('photo.png').save('p.png')",
    ),
]
